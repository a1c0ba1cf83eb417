"""A model without its masks, to be written."""

import keras

from keras_initprune.compaction.graph import is_graph
from keras_initprune.compaction.rebuild import copy
from keras_initprune.constraints import remove_masks


def plain(model: keras.Model) -> keras.Model:
    """Return a model without masks: itself if it carries none, or else a copy.

    Args:
        model: A built Keras model.

    Raises:
        ValueError: If it is not built, or is a subclass that carries masks.
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"`model` must be a built Keras model. Received: model={model!r}"
        )
    # Masks are the only boolean weights; not every model has something to prune.
    if not any(weight.dtype == "bool" for weight in model.weights):
        return model
    if not is_graph(model):
        raise ValueError(
            "A subclass of `keras.Model` cannot be copied, so take its masks off with "
            f"`remove_masks` before it is exported. Received: model={model!r}"
        )
    return remove_masks(copy(model))
