"""What whole filters, removed while training and compacted, save and cost."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.compaction import predicts
from benchmarks.exports import invokes
from benchmarks.sizes import Sizes
from keras_initprune import DissipatingGradients, compact
from keras_initprune.deploy.export import export
from keras_initprune.lab import models
from keras_initprune.lab.datasets import Dataset, load
from keras_initprune.lab.measurement import Measurement, paired, single

NETWORKS: Mapping[str, Callable[..., keras.Model]] = {
    "convnet": partial(models.convnet, filters=(32, 64), hidden_units=(128,)),
    "residual network": partial(models.resnet, filters=(32, 64, 128)),
}
# The share of filters that goes, and the most that prediction may take.
GOALS = {0.5: 0.6, 0.75: 0.35}
BATCH_SIZE = 64
TRAINING_BATCH_SIZE = 32
CALLS = 20
LEARNING_RATE = 0.05
MOST_IMAGES = 4_000


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Train networks densely and with half and a quarter of their filters.

    Yields:
        Errors on validation images, parameters and the time of a prediction in
        TensorFlow and LiteRT, as ratios to the dense network.
    """
    data = load(sizes.dataset)
    for name, make in NETWORKS.items():
        dense, dense_error = _trained(make, None, data, sizes)
        for sparsity, goal in GOALS.items():
            pruned, error = _trained(make, sparsity, data, sizes)
            label = f"{name}, {sparsity:.0%} of the filters removed"
            details = {"error": error, "dense_error": dense_error}
            yield single(
                f"{label}: error", "dense", error / dense_error, details=details
            )
            yield from _compare(compact(pruned), dense, label, goal, sizes)


def _trained(
    make: Callable[..., keras.Model],
    sparsity: float | None,
    data: Dataset,
    sizes: Sizes,
) -> tuple[keras.Model, float]:
    """Return a trained network and its error on validation images in %."""
    images = min(sizes.images, MOST_IMAGES)
    keras.utils.set_random_seed(0)
    model = make(data.image_shape, seed=0)
    steps = sizes.epochs * -(-images // TRAINING_BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    callbacks = []
    if sparsity is not None:
        callbacks.append(
            DissipatingGradients(
                sparsity,
                epochs=sizes.epochs // 2,
                distribution="uniform",
                pattern="units",
            )
        )
    model.fit(
        data.x_train[:images],
        data.y_train[:images],
        batch_size=TRAINING_BATCH_SIZE,
        epochs=sizes.epochs,
        callbacks=callbacks,
        verbose=0,
    )
    _, accuracy = model.evaluate(data.x_validation, data.y_validation, verbose=0)
    return model, 100 * (1 - accuracy)


def _compare(
    small: keras.Model, dense: keras.Model, label: str, goal: float, sizes: Sizes
) -> Iterator[Measurement]:
    counts = {"before": dense.count_params(), "after": small.count_params()}
    share = counts["after"] / counts["before"]
    yield single(f"{label}: parameters", "dense", share, details=counts)
    shape = (BATCH_SIZE, *dense.input_shape[1:])
    images = np.random.default_rng(0).random(shape, np.float32)
    yield paired(
        f"{label}: prediction, batch {BATCH_SIZE}",
        "dense",
        (predicts(small, images), predicts(dense, images)),
        sizes.pairs,
        at_most=goal,
    )
    with tempfile.TemporaryDirectory() as folder:
        yield paired(
            f"{label}: one image in LiteRT",
            "dense",
            (_invokes(small, Path(folder, "small")), _invokes(dense, Path(folder))),
            sizes.pairs,
            at_most=goal,
        )


def _invokes(model: keras.Model, folder: Path) -> Callable[[], Any]:
    path = export(model, folder / "model.tflite", "litert_dense")
    image = np.random.default_rng(0).random((1, *model.input_shape[1:]), np.float32)
    return invokes(path, image, CALLS)
