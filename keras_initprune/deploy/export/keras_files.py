"""Writes plain Keras files and SavedModels."""

from pathlib import Path

import keras

from keras_initprune.deploy.compaction.rebuild import copy
from keras_initprune.deploy.export.quiet import quiet
from keras_initprune.graphs.graph import is_graph


def write_keras(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file, without an optimizer where the model can be copied.

    Args:
        model: A model without masks.
        path: Where to write.
    """
    if model.compiled and is_graph(model):
        model = _uncompiled(model)
    model.save(path)


def write_saved_model(model: keras.Model, path: Path) -> None:
    """Write a SavedModel for inference: its `serve` takes batches of any size.

    Args:
        model: A model without masks.
        path: The folder to write.
    """
    with quiet():
        model.export(path, format="tf_saved_model", verbose=False)


def _uncompiled(model: keras.Model) -> keras.Model:
    """Return a copy; what an optimizer keeps of every weight would triple the file."""
    # Cloning would compile, too.
    model.compiled = False
    try:
        return copy(model)
    finally:
        model.compiled = True
