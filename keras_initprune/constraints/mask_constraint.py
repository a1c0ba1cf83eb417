"""The constraint that keeps pruned weights at zero."""

import zlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend
from keras_initprune.constraints.guard import guard_mask, guard_weight

# What tells a saved mask from other weights in a file.
CHECKSUM = "checksum"


@keras.saving.register_keras_serializable(package="keras_initprune")
class MaskConstraint(keras.layers.Layer, keras.constraints.Constraint):
    """Keeps the pruned entries of a weight at zero.

    A constraint that is a layer as well: set as a layer's constraint it becomes one of
    that layer's sublayers, so its mask is a non-trainable weight of the model, saved
    and loaded with it. Keras applies constraints after every optimizer update,
    whichever way the model is trained, and whatever else is assigned to the weight is
    masked too. Where the gradients of pruned entries would reach others, as in a norm,
    they are set to zero before it, see `gradient_masking`.

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
        guard_mask(self.mask)
        self.built = True

    def __call__(self, weight: Any) -> Any:
        """Return the weight with its pruned entries set to zero."""
        kept = backend.masked(self.mask, weight)
        if self.inner is None:
            return kept
        return backend.masked(self.mask, self.inner(kept))

    def guard(self, variable: keras.Variable) -> None:
        """Guard a weight, so that whatever is written to it is masked."""
        guard_weight(variable, self.mask)

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
