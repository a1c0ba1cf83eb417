"""Weights that guard themselves: whatever is written to one, pruned entries are zero.

A weight is guarded as long as a mask is its constraint, a mask as long as it belongs to
one. Guarding a variable gives it a subclass of its class, so that `assign`,
`set_weights`, a restored checkpoint and a training step of one's own need not be
remembered one by one.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend

# While several variables are written, a weight may come before its new mask.
_WRITING: ContextVar[bool] = ContextVar("writing", default=False)


class GuardedWeight:
    """A variable whose constraint is a mask; mixed into the variable's class."""

    def assign(self: Any, value: Any) -> Any:
        """Set the weight, but for what its mask removes."""
        is_own = backend.is_own_value(self, value)
        if is_own and backend.is_masked(self.constraint.mask, value):
            return value  # A constraint has masked it in place.
        return super().assign(value)  # type: ignore[misc]

    def _direct_assign(self: Any, value: Any) -> None:
        vars(self).pop("_restored", None)
        if not _WRITING.get() and not backend.is_masked(self.constraint.mask, value):
            value = backend.masked(self.constraint.mask, value)
        super()._direct_assign(value)  # type: ignore[misc]

    def _restore_from_tensors(self: Any, tensors: Any) -> Any:
        """Restore from a checkpoint of TensorFlow's, which may bring the mask later."""
        result = super()._restore_from_tensors(tensors)  # type: ignore[misc]
        restored = self.numpy()
        self.assign(restored)
        self._restored = restored
        return result


class GuardedMask:
    """The mask of a guarded weight; mixed into the variable's class."""

    times_written = 0

    def assign(self: Any, value: Any) -> Any:
        """Set the mask and zero what it removes.

        Raises:
            ValueError: If the mask holds anything but 0 and 1.
        """
        return super().assign(checked_mask(value, self.path))  # type: ignore[misc]

    def _direct_assign(self: Any, value: Any) -> None:
        super()._direct_assign(value)  # type: ignore[misc]
        self.times_written += 1
        weight = self._weight()
        if weight is not None and not _WRITING.get():
            weight.assign(ops.convert_to_tensor(weight))

    def _restore_from_tensors(self: Any, tensors: Any) -> Any:
        result = super()._restore_from_tensors(tensors)  # type: ignore[misc]
        weight = self._weight()
        if weight is not None:
            weight.assign(vars(weight).get("_restored", weight.value))
        return result


def guard_weight(variable: keras.Variable, mask: keras.Variable) -> None:
    """Let a variable zero what its mask removes, whatever is assigned to either."""
    _mix_in(variable, GuardedWeight)
    setattr(mask, "_weight", weakref.ref(variable))  # noqa: B010


def release_weight(variable: keras.Variable) -> None:
    """Make a guarded weight an ordinary variable again."""
    if isinstance(variable, GuardedWeight):
        vars(variable).pop("_restored", None)
        variable.__class__ = type(variable).__mro__[2]


def guard_mask(variable: keras.Variable) -> None:
    """Let a boolean variable hold only what a mask may hold."""
    setattr(variable, "_weight", lambda: None)  # noqa: B010
    _mix_in(variable, GuardedMask)


def checked_mask(value: Any, name: str) -> Any:
    """Return a mask that holds only 0 and 1, as booleans.

    Raises:
        ValueError: If it holds anything else.
    """
    if ops.is_tensor(value) or isinstance(value, keras.Variable):
        if keras.backend.standardize_dtype(value.dtype) == "bool":
            return value  # Also symbolic tensors, which have no values yet.
        value = ops.convert_to_numpy(value)
    array = np.asarray(value)
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"The mask {name!r} must hold only 0 and 1 (1 = keep). "
            f"Received: an array of dtype {array.dtype} with other values"
        )
    return array.astype(bool)


@contextlib.contextmanager
def all_or_nothing(layer: keras.Layer) -> Iterator[None]:
    """Let weights and masks of a layer be written in any order, and all or none.

    Pruned entries become zero when all is written. If that fails, the layer and its
    optimizer keep what they had.
    """
    if _WRITING.get():
        yield
        return
    before = _snapshot(layer) if _guarded(layer) else []
    token = _WRITING.set(True)
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise
    finally:
        _WRITING.reset(token)
    for variable in _guarded(layer):
        variable.assign(ops.convert_to_tensor(variable))


def written_together(inner: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that writes weights and masks which fit each other already."""
    token = _WRITING.set(True)
    try:
        return inner(*args, **kwargs)
    finally:
        _WRITING.reset(token)


def _guarded(layer: keras.Layer) -> list[Any]:
    return [weight for weight in layer.weights if isinstance(weight, GuardedWeight)]


def _snapshot(layer: keras.Layer) -> list[tuple[keras.Variable, np.ndarray]]:
    optimizer = getattr(layer, "optimizer", None)
    variables = [*layer.variables, *(optimizer.variables if optimizer else ())]
    return [(variable, ops.convert_to_numpy(variable)) for variable in variables]


def _mix_in(variable: Any, mixin: type) -> None:
    if not isinstance(variable, mixin):
        kind: Any = type(variable)
        variable.__class__ = _mixed(mixin, kind)


@functools.cache
def _mixed(mixin: Any, kind: Any) -> type:
    return type(mixin.__name__, (mixin, kind), {})
