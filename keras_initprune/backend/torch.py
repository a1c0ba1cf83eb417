"""PyTorch: gradients on demand, and random numbers that Keras' seeds do not decide.

`backend` says what the functions do.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import torch
from keras import ops

from keras_initprune.backend.keras_internals import in_stateless_scope, wide_types

__all__ = [
    "enable_float64",
    "is_masked",
    "is_own_value",
    "masked",
    "optimizer_class",
    "random_numbers_kept",
    "random_state",
    "set_random_state",
    "value_and_gradients",
]

_MASKED = "_initprune_masked"
_AS_INTEGERS = "_initprune_as_integers"
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_OPTIMIZERS = "keras.src.backend.torch.optimizers"


def value_and_gradients(
    function: Callable[[dict[str, Any]], tuple[Any, Any]], values: Mapping[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return what a function returns and its first result's gradient."""
    # Within another gradient the tensors are those that it differentiates by.
    again = any(value.requires_grad for value in values.values())
    leaves = {
        name: value if again else value.detach().requires_grad_()
        for name, value in values.items()
    }
    with torch.enable_grad():
        total, rest = function(leaves)
    if not total.requires_grad:
        return total, rest, {p: torch.zeros_like(v) for p, v in leaves.items()}
    gradients = torch.autograd.grad(
        total,
        list(leaves.values()),
        create_graph=again,
        allow_unused=True,
        materialize_grads=True,
    )
    return total, rest, dict(zip(leaves, gradients, strict=True))


def enable_float64() -> contextlib.AbstractContextManager:
    """Have `keras.ops` compute in float64 where their inputs are, for a while."""
    return wide_types()


def random_numbers_kept() -> contextlib.AbstractContextManager:
    """Leave random numbers as they were before."""
    return torch.random.fork_rng()


def random_state() -> Any:
    """Return the state of PyTorch's generator, which dropout draws from."""
    return torch.get_rng_state().numpy()


def set_random_state(state: Any) -> None:
    """Go on from what `random_state` returned."""
    torch.set_rng_state(torch.from_numpy(np.array(state, np.uint8)))


def masked(mask: keras.Variable, value: Any) -> Any:
    """Return a value with zeros where a mask removes it, and remember by which."""
    tensor = ops.convert_to_tensor(value)
    if torch.is_grad_enabled() and tensor.requires_grad:
        result = torch.where(mask.value, tensor, 0)
    else:
        # Its bits times 0 or 1, in a tenth of the time: infinity itself would be NaN.
        bits = tensor.view(_INTEGERS[tensor.dtype.itemsize])
        kept = _as_integers(mask.value, bits.dtype)
        if _is_weight_of(mask, value):
            # In place: nobody is to see its pruned entries as anything but zero.
            bits.mul_(kept)
            result = tensor
        else:
            result = (bits * kept).view(tensor.dtype)
    if not torch.compiler.is_compiling():
        setattr(result, _MASKED, _versions(mask, result))
    return result


def is_masked(mask: keras.Variable, value: Any) -> bool:
    """Return whether a value is known to come from `masked`, with the same mask.

    The step is not compiled, so that masking twice would take twice as long.
    """
    known = getattr(value, _MASKED, None)
    return known is not None and known == _versions(mask, value)


def is_own_value(variable: keras.Variable, value: Any) -> bool:
    """Return whether a value is what a variable holds, so that nothing is written."""
    return value is variable._value and not in_stateless_scope()


def _as_integers(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask as integers, which a product would make of it every time."""
    if torch.compiler.is_compiling():
        return mask
    known = getattr(mask, _AS_INTEGERS, None)
    if known is None or known[0] != mask._version or known[1].dtype != dtype:
        known = mask._version, mask.to(dtype)
        setattr(mask, _AS_INTEGERS, known)
    return known[1]


def _is_weight_of(mask: keras.Variable, value: Any) -> bool:
    constraint = value.constraint if isinstance(value, keras.Variable) else None
    return getattr(constraint, "mask", None) is mask


def _versions(mask: keras.Variable, value: Any) -> tuple[int, int, int]:
    """Return what changes if a mask, or a value, is changed in place."""
    return id(mask.value), mask.value._version, value._version


def optimizer_class(optimizer: Any) -> type:
    """Return the public class of an optimizer: Keras makes one of a subclass."""
    kind = type(optimizer)
    return kind.__bases__[-1] if kind.__module__.startswith(_OPTIMIZERS) else kind
