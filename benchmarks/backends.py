"""What masks add to a training step on each backend: `python -m benchmarks.backends`.

It needs the library and the backend of `KERAS_BACKEND` alone. Both sides take turns,
and the processor's time counts, which other programs on the machine lengthen least.
"""

import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
from keras.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, Reshape

from keras_initprune import prune

# Epochs are long, so that what happens once in each counts as little as in training.
_PAIRS, _STEPS, _BATCH = 11, 300, 100


def perceptron() -> keras.Model:
    """Return a perceptron, 784-300-100-10."""
    return keras.Sequential(
        [Input((784,)), Dense(300, "relu"), Dense(100, "relu"), Dense(10)]
    )


def lenet5() -> keras.Model:
    """Return LeNet-5-Caffe: 20 and 50 filters of 5 x 5, and 500 units."""
    filters = [layer for n in (20, 50) for layer in (Conv2D(n, 5), MaxPooling2D(2))]
    units = [Flatten(), Dense(500, "relu"), Dense(10)]
    return keras.Sequential([Input((784,)), Reshape((28, 28, 1)), *filters, *units])


def ratios(network: Callable[[], keras.Model]) -> list[float]:
    """Return the time of a step with masks over that of a dense one, pair by pair."""
    generator = np.random.default_rng(0)
    x = generator.random((_STEPS * _BATCH, 784), np.float32)
    y = generator.integers(0, 10, len(x))
    dense, masked = _compiled(network()), prune(_compiled(network()), "magnitude", 0.95)

    def seconds(model: keras.Model) -> float:
        begin = time.process_time()
        model.fit(x, y, batch_size=_BATCH, shuffle=False, verbose=0)
        return time.process_time() - begin

    found = []
    for pair in range(_PAIRS + 1):
        order = (masked, dense) if pair % 2 else (dense, masked)
        taken = {id(model): seconds(model) for model in order}
        found.append(taken[id(masked)] / taken[id(dense)])
    return found[1:]  # The first pair compiles.


def _compiled(model: keras.Model) -> keras.Model:
    """Compile a model as Keras does by default."""
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


if __name__ == "__main__":
    for network in (perceptron, lenet5):
        found = ratios(network)
        print(
            f"{keras.config.backend()}, {network.__name__}: a step with masks takes "
            f"{statistics.median(found):.3f} of a dense one "
            f"({min(found):.3f} to {max(found):.3f}, {len(found)} pairs)"
        )
