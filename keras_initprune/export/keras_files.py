"""Writes plain Keras files and SavedModels."""

from pathlib import Path

import keras

from keras_initprune.export.quiet import quiet


def write_keras(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file.

    Args:
        model: A model without masks.
        path: Where to write.
    """
    model.save(path)


def write_saved_model(model: keras.Model, path: Path) -> None:
    """Write a SavedModel for inference: its `serve` takes batches of any size.

    Args:
        model: A model without masks.
        path: The folder to write.
    """
    with quiet():
        model.export(path, format="tf_saved_model", verbose=False)
