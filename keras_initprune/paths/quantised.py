"""Sees quantised layers, and those with LoRA, as the float layers they stand for."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_initprune.constraints.weights import check_built
from keras_initprune.paths.substitutes import replaced

_READABLE = (None, "int8", "int4", "float8")


@contextlib.contextmanager
def as_floats(model: keras.Model) -> Iterator[int]:
    """Let weights that are computed from others be variables, zero where they are zero.

    Where a weight is not zero its value is that of the quantised weight, without scale.

    Yields:
        By how many numbers these weights are more than what is stored of them.

    Raises:
        ValueError: If a layer is quantised in a way in which zeros are not known.
    """
    more = 0
    with contextlib.ExitStack() as stack:
        for layer in _computed(model):
            name = "_kernel" if hasattr(layer, "_kernel") else "_embeddings"
            stored = getattr(layer, name)
            if layer.quantization_mode != "float8" or layer.lora_enabled:
                weight = keras.Variable(_values(layer, name), name=name[1:])
                more += math.prod(weight.shape) - math.prod(stored.shape)
                stack.enter_context(replaced(layer, name, weight))
            policy = keras.DTypePolicy(layer.compute_dtype)
            stack.enter_context(replaced(layer, "_dtype_policy", policy))
            stack.enter_context(replaced(layer, "lora_enabled", False))
        yield more


def _computed(model: keras.Model) -> list[Any]:
    check_built(model)
    found = []
    for layer in model._flatten_layers(include_self=False):
        if layer.quantization_mode not in _READABLE:
            raise ValueError(
                f"The zeros of {layer.name!r} are not known: it is quantised with "
                f"{layer.quantization_mode!r}. Count before the model is quantised."
            )
        if layer.quantization_mode or getattr(layer, "lora_enabled", False):
            found.append(layer)
    return found


def _values(layer: Any, name: str) -> Any:
    values = ops.cast(getattr(layer, name[1:]), "float32")
    zero = getattr(layer, f"{name[1:]}_zero", None)
    if zero is None:
        return values
    # Blocks of 4-bit weights have a number each that stands for zero.
    blocks = ops.cast(layer.g_idx, "int32")
    if name == "_embeddings":
        return values - ops.cast(ops.take(zero, blocks, axis=1), "float32")
    rows = ops.reshape(values, (blocks.shape[0], -1))
    rows -= ops.cast(ops.take(zero, blocks, axis=0), "float32")
    return ops.reshape(rows, values.shape)
