"""What whole filters, removed while training and compacted, save and cost."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.compaction import predicts
from benchmarks.exports import invokes
from benchmarks.sizes import Sizes
from keras_initprune import DissipatingGradients, compact
from keras_initprune.deploy.export import export
from keras_initprune.lab.datasets import load
from keras_initprune.lab.measurement import Measurement, paired, single

Make = Callable[[tuple[int, ...]], keras.Model]

layers = keras.layers

# The share of filters that goes, and the most that prediction may take.
GOALS = {0.5: 0.6, 0.75: 0.35}
BATCH_SIZE = 64
CALLS = 20
MOST_IMAGES = 4_000


def convnet(image_shape: tuple[int, ...]) -> keras.Model:
    """Return a network of two convolutions and a hidden layer."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ],
        name="convnet",
    )


def residual_network(image_shape: tuple[int, ...]) -> keras.Model:
    """Return a network of residual blocks of 32, 64 and 128 filters."""
    inputs = keras.Input(image_shape)
    x = layers.ReLU()(_convolution(inputs, 32, 3, 2))
    for filters, strides in ((32, 1), (64, 2), (128, 2)):
        x = _block(x, filters, strides)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="residual_network")


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Train networks densely and with half and a quarter of their filters.

    Yields:
        Errors on validation images, parameters and the time of a prediction in
        TensorFlow and LiteRT, as ratios to the dense network.
    """
    data = load(sizes.dataset)
    for make in (convnet, residual_network):
        dense, dense_error = _trained(make, None, data, sizes)
        for sparsity, goal in GOALS.items():
            pruned, error = _trained(make, sparsity, data, sizes)
            label = (
                f"{dense.name.replace('_', ' ')}, {sparsity:.0%} of the filters removed"
            )
            details = {"error": error, "dense_error": dense_error}
            yield single(
                f"{label}: error", "dense", error / dense_error, details=details
            )
            yield from _compare(compact(pruned), dense, label, goal, sizes)


def _trained(
    make: Make, sparsity: float | None, data: Any, sizes: Sizes
) -> tuple[keras.Model, float]:
    """Return a trained network and its error on validation images in %."""
    keras.utils.set_random_seed(0)
    model = make(data.image_shape)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    callbacks = []
    if sparsity is not None:
        callbacks.append(
            DissipatingGradients(sparsity, distribution="uniform", pattern="units")
        )
    images = min(sizes.images, MOST_IMAGES)
    model.fit(
        data.x_train[:images],
        data.y_train[:images],
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


def _block(x: Any, filters: int, strides: int) -> Any:
    y = layers.ReLU()(_convolution(x, filters, 3, strides))
    y = _convolution(y, filters, 3, 1)
    if strides > 1:
        x = _convolution(x, filters, 1, strides)
    return layers.ReLU()(layers.Add()([x, y]))


def _convolution(x: Any, filters: int, size: int, strides: int) -> Any:
    options = {"strides": strides, "padding": "same", "use_bias": False}
    return layers.BatchNormalization()(layers.Conv2D(filters, size, **options)(x))
