"""Refuses to quantise models with masks: Keras would leave their layers out."""

import functools
from typing import Any

import keras

from keras_initprune.constraints import MaskConstraint

_WRAPPED = "_wrapped_by_keras_initprune"


def refuse_masks() -> None:
    """Have `Model.quantize` refuse models with masks, if it did not before."""
    inner = keras.Model.quantize
    if hasattr(inner, _WRAPPED):
        return

    @functools.wraps(inner)
    def quantize(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        parts = model._flatten_layers(include_self=False)
        if any(isinstance(part, MaskConstraint) for part in parts):
            raise ValueError(
                f"The model {model.name!r} has masks, and Keras quantises no layer "
                "that has one: call `remove_masks(model)` first. Zeros stay zero in 8 "
                "and in 4 bits; what is trained on in float8 becomes dense."
            )
        return inner(model, *args, **kwargs)

    setattr(quantize, _WRAPPED, True)
    keras.Model.quantize = quantize
