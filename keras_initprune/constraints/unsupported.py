"""What Keras cannot do with masks among a model's layers: refused, or made to work."""

from collections.abc import Callable
from typing import Any

import keras

from keras_initprune.constraints.mask_constraint import MaskConstraint


def quantize(
    inner: Callable[..., Any], model: keras.Model, *args: Any, **kwargs: Any
) -> Any:
    """Do what `Model.quantize` does, unless it would leave masked layers out."""
    parts = model._flatten_layers(include_self=False)
    if any(isinstance(part, MaskConstraint) for part in parts):
        raise ValueError(
            f"Keras does not quantise layers with masks, which {model.name!r} has: "
            "call `remove_masks(model)` first. Zeros stay zero in 8 and in 4 bits; "
            "what is trained on in float8 becomes dense."
        )
    return inner(model, *args, **kwargs)


def log_weight_as_image(
    inner: Callable[..., Any], callback: Any, weight: Any, *args: Any
) -> Any:
    """Do what `TensorBoard` does, which has no images of booleans."""
    if weight.dtype == "bool":
        weight = keras.ops.cast(weight, "float32")
    return inner(callback, weight, *args)
