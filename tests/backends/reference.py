"""Masks that every backend has to meet: how they come about, and the file of them.

`python tests/backends/reference.py` writes the file anew.
"""

import json
from pathlib import Path

import keras
import numpy as np

from keras_initprune import (
    SET,
    Combination,
    DissipatingGradients,
    GradualMagnitude,
    GraNet,
    KStarts,
    OneShotMagnitude,
    RandomPruning,
    RigL,
    get_masks,
    pruning_masks,
)

FILE = Path(__file__).with_name("reference_masks.json")
CRITERIA = (
    "random",
    "magnitude",
    "snip",
    "iterative_snip",
    "force",
    "grasp",
    "synflow",
)
CALLBACKS = {
    "RandomPruning": lambda: RandomPruning(0.8, seed=0),
    "KStarts": lambda: KStarts(4, 0.8, epochs=2, fitness="combined", seed=0),
    "DissipatingGradients": lambda: DissipatingGradients(0.8, epochs=2),
    "DissipatingGradients, gradients": lambda: DissipatingGradients(
        0.8, epochs=2, criterion="gradient"
    ),
    "Combination": lambda: Combination(0.8, epochs=2, interval=3, seed=0),
    "OneShotMagnitude": lambda: OneShotMagnitude(0.8, epochs=2),
    "GradualMagnitude": lambda: GradualMagnitude(0.8, epochs=2, interval=3),
    "GraNet": lambda: GraNet(0.8, epochs=2, interval=3),
    "RigL": lambda: RigL(0.8, epochs=2, interval=3, seed=0),
    "SET": lambda: SET(0.8, epochs=2, interval=3, seed=0),
}


def numbers(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def data():
    """Return 64 examples with 12 inputs and 3 targets."""
    return numbers(64, 12, seed=1), numbers(64, 3, seed=2)


def with_known_weights(model):
    """Give a model weights that do not depend on a backend's random numbers."""
    model.set_weights(
        [
            weight
            if "moving" in variable.path
            else 0.5 * numbers(*weight.shape, seed=3 + at)
            for at, (variable, weight) in enumerate(
                zip(model.weights, model.get_weights(), strict=True)
            )
        ]
    )
    return model


def perceptron(optimizer="adam", **compile_arguments):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="relu", name="hidden_1"),
            layers.Dense(8, activation="relu", name="hidden_2"),
            layers.Dense(3, name="output"),
        ]
    )
    model.compile(optimizer, "mse", **{"jit_compile": False, **compile_arguments})
    return with_known_weights(model)


def convolutional():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Reshape((4, 3, 1)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="convolution"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dense(3, name="output"),
        ]
    )
    model.compile("sgd", "mse", jit_compile=False)
    return with_known_weights(model)


def criterion_masks(criterion):
    masks = {}
    for make, sparsity in ((perceptron, 0.8), (convolutional, 0.5)):
        found = pruning_masks(
            make(), criterion, sparsity, data(), seed=0, batch_size=16
        )
        masks.update({f"{make.__name__}/{path}": mask for path, mask in found.items()})
    return masks


def callback_masks(name):
    model = perceptron()
    model.fit(
        *data(),
        batch_size=16,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[CALLBACKS[name]()],
    )
    return get_masks(model)


def to_text(masks):
    """Return masks as hexadecimal digits."""
    return {path: np.packbits(mask).tobytes().hex() for path, mask in masks.items()}


if __name__ == "__main__":
    written = {name: to_text(criterion_masks(name)) for name in CRITERIA}
    written |= {name: to_text(callback_masks(name)) for name in CALLBACKS}
    FILE.write_text(json.dumps(written, indent=1) + "\n")
