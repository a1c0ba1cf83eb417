"""The side of TensorFlow Model Optimization, in a process of its own on Keras 2.

Run as a script, since this package is for Keras 3 and must not be imported here.
Prints one line of JSON.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH_SIZE = 100
SPARSITY = 0.95


def main(pairs: int, steps: int) -> dict[str, Any]:
    """Time training with its masks, then fine-tune what it leaves.

    Args:
        pairs: Interleaved pairs of a masked and a dense training.
        steps: Training steps of each.

    Returns:
        Seconds per pair, the sparsity before and after fine-tuning, and file sizes.
    """
    import numpy as np
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    generator = np.random.default_rng(0)
    x = generator.random((steps * BATCH_SIZE, 784), np.float32)
    y = generator.integers(0, 10, len(x))
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH_SIZE).cache()

    def perceptron() -> Any:
        layers = [keras.layers.Dense(n, "relu") for n in (300, 100)]
        return keras.Sequential(
            [keras.layers.Input((784,)), *layers, keras.layers.Dense(10)]
        )

    def compiled(model: Any) -> Any:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        return model

    schedule = tfmot.sparsity.keras.ConstantSparsity(SPARSITY, 0, frequency=100)
    masked = compiled(
        tfmot.sparsity.keras.prune_low_magnitude(
            perceptron(), pruning_schedule=schedule
        )
    )
    dense = compiled(perceptron())
    update = tfmot.sparsity.keras.UpdatePruningStep()
    sides = (
        lambda: masked.fit(data, verbose=0, callbacks=[update]),
        lambda: dense.fit(data, verbose=0),
    )
    for side in sides:
        side()
    seconds = [[_seconds(side) for side in sides] for _ in range(pairs)]
    stripped = compiled(tfmot.sparsity.keras.strip_pruning(masked))
    before = _sparsity(stripped)
    with tempfile.TemporaryDirectory() as folder:
        sizes = []
        for name, model in (("masked", stripped), ("dense", dense)):
            path = Path(folder) / f"{name}.h5"
            model.save(path, include_optimizer=False)
            sizes.append(path.stat().st_size)
    stripped.fit(data, verbose=0)
    return {
        "seconds": seconds,
        "ratio": statistics.median(a / b for a, b in seconds),
        "sparsity": [before, _sparsity(stripped)],
        "bytes": sizes,
        "versions": f"tfmot {tfmot.__version__}, Keras {keras.__version__}",
    }


def _seconds(side: Any) -> float:
    begin = time.process_time()
    side()
    return time.process_time() - begin


def _sparsity(model: Any) -> float:
    kernels = [weight.numpy() for weight in model.weights if "kernel" in weight.name]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels)
    return zeros / sum(kernel.size for kernel in kernels)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
