"""The constraint that keeps pruned weights at zero, and weights that guard themselves.

Whatever is written to a weight, its pruned entries are zero, as long as a mask is its
constraint. Guarding a variable gives it a subclass of its class, so that `assign`,
`set_weights`, a restored checkpoint and a training step of one's own need not be
remembered one by one.
"""

import contextlib
import functools
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend

# What tells a saved mask from other weights in a file.
CHECKSUM = "checksum"

# While several variables are written, a weight may come before its new mask.
_WRITING: ContextVar[bool] = ContextVar("writing", default=False)


@keras.saving.register_keras_serializable(package="keras_initprune")
class MaskConstraint(keras.layers.Layer, keras.constraints.Constraint):
    """Keeps the pruned entries of a weight at zero.

    A constraint that is a layer as well: set as a layer's constraint it becomes one of
    that layer's sublayers, so its mask is a non-trainable weight of the model, saved
    and loaded with it. Keras applies constraints after every optimizer update,
    whichever way the model is trained, and whatever else is assigned to the weight is
    masked too. Where the gradients of pruned entries would reach others, as in a norm,
    they are set to zero before it, see `training`.

    Args:
        shape: Shape of the weight.
        inner: Another constraint on the same weight, which is applied to the masked
            weight. Defaults to None.

    Example:
        >>> constraint = MaskConstraint((2, 2))
        >>> _ = constraint.mask.assign([[True, False], [False, True]])
        >>> ops.convert_to_numpy(constraint(ops.ones((2, 2)))).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, shape: Any, inner: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.inner = keras.constraints.get(inner)
        self.mask = self.add_weight(
            name="mask",
            shape=self.shape,
            dtype="bool",
            initializer="ones",
            trainable=False,
        )
        _mix_in(self.mask, GuardedMask)
        self.built = True

    def __call__(self, weight: Any) -> Any:
        """Return the weight with its pruned entries set to zero."""
        kept = backend.masked(self.mask, weight)
        if self.inner is None:
            return kept
        return backend.masked(self.mask, self.inner(kept))

    def guard(self, variable: keras.Variable) -> None:
        """Guard a weight, so that whatever is written to it is masked."""
        _mix_in(variable, GuardedWeight)
        self.mask._weight = weakref.ref(variable)

    def save_own_variables(self, store: Any) -> None:
        """Save the mask, with a checksum: weights files have none of their own."""
        super().save_own_variables(store)
        store[CHECKSUM] = np.array(self._checksum(), np.uint32)

    def load_own_variables(self, store: Any) -> None:
        """Load the mask, or keep it if the file is that of a model without masks.

        Raises:
            ValueError: If the mask in the file is damaged.
        """
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118
        if not saved:
            return
        before = ops.convert_to_numpy(self.mask)
        checksum = saved.pop(CHECKSUM, None)
        super().load_own_variables(saved)
        if checksum is None or int(checksum) != self._checksum():
            self.mask.assign(before)
            raise ValueError("The mask in the file is damaged: its checksum differs.")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild this constraint."""
        return {
            "shape": list(self.shape),
            "inner": keras.constraints.serialize(self.inner) if self.inner else None,
            "name": self.name,
        }

    def _checksum(self) -> int:
        return zlib.crc32(ops.convert_to_numpy(self.mask).tobytes())


def mask_of(variable: Any) -> Any:
    """Return the variable that holds a variable's mask, or None if it has none."""
    constraint = getattr(variable, "constraint", None)
    return constraint.mask if isinstance(constraint, MaskConstraint) else None


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
    # A reference to the weight, of which a new mask has none.
    _weight: Any = staticmethod(lambda: None)

    def assign(self: Any, value: Any) -> Any:
        """Set the mask and zero what it removes.

        Raises:
            ValueError: If the mask holds anything but 0 and 1.
        """
        return super().assign(_checked_mask(value, self.path))  # type: ignore[misc]

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


def release_weight(variable: keras.Variable) -> None:
    """Make a guarded weight an ordinary variable again."""
    if isinstance(variable, GuardedWeight):
        vars(variable).pop("_restored", None)
        variable.__class__ = type(variable).__mro__[2]


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


def _checked_mask(value: Any, name: str) -> Any:
    """Return a mask as booleans, or raise if it holds anything but 0 and 1."""
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


def _guarded(layer: keras.Layer) -> list[Any]:
    return [weight for weight in layer.weights if isinstance(weight, GuardedWeight)]


def _snapshot(layer: keras.Layer) -> list[tuple[keras.Variable, np.ndarray]]:
    optimizer = getattr(layer, "optimizer", None)
    variables = [*layer.variables, *(optimizer.variables if optimizer else ())]
    return [(variable, ops.convert_to_numpy(variable)) for variable in variables]


def _mix_in(variable: Any, mixin: type) -> None:
    if not isinstance(variable, mixin):
        variable.__class__ = _mixed(mixin, variable.__class__)


@functools.cache
def _mixed(mixin: Any, kind: Any) -> type:
    return type(mixin.__name__, (mixin, kind), {})
