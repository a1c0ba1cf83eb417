"""A model without its masks, to be written."""

from copy import deepcopy

import keras

from keras_initprune.constraints import remove_masks
from keras_initprune.deploy.compaction.rebuild import copy
from keras_initprune.graphs.graph import is_graph


def plain(model: keras.Model) -> keras.Model:
    """Return a model without masks: itself if it carries none, or else a copy.

    Args:
        model: A built Keras model.

    Raises:
        ValueError: If it is not built, or is a subclass that carries masks and cannot
            be saved.
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"`model` must be a built Keras model. Received: model={model!r}"
        )
    # Masks are the only boolean weights; not every model has something to prune.
    if not any(weight.dtype == "bool" for weight in model.weights):
        return model
    return remove_masks(copy(model) if is_graph(model) else _copy_of_subclass(model))


def _copy_of_subclass(model: keras.Model) -> keras.Model:
    try:
        return deepcopy(model)
    except Exception as error:
        raise ValueError(
            "A subclass of `keras.Model` is copied by what it saves, and this one "
            "cannot be: register it and give it a `get_config`, or take its masks off "
            f"with `remove_masks` before it is exported. Received: model={model!r}"
        ) from error
