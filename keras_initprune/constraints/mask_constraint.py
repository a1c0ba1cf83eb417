"""The constraint that keeps pruned weights at zero."""

import weakref
import zlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune.constraints.gradient_masking import mask_gradients

_CHECKSUM = "checksum"


@keras.saving.register_keras_serializable(package="keras_initprune")
class MaskConstraint(keras.layers.Layer, keras.constraints.Constraint):
    """Keeps the pruned entries of a weight at zero.

    A constraint that is a layer as well: set as a layer's constraint it becomes one of
    that layer's sublayers, so its mask is a non-trainable weight of the model, saved
    and loaded with it. Keras applies constraints after every optimizer update,
    whichever way the model is trained. Where the gradients of pruned entries would
    reach others, as in a norm, they are set to zero before it, see `mask_gradients`.

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
        self.shape: Any = shape
        self.inner = keras.constraints.get(inner)
        self._guarded: Any = weakref.WeakValueDictionary()
        self._add_masks()
        self.built = True
        mask_gradients()

    def __call__(self, weight: Any) -> Any:
        """Return the weight with its pruned entries set to zero."""
        mask = self.mask_for(weight)
        if mask is None:
            return weight if self.inner is None else self.inner(weight)
        # Not a product: zero times infinity would be NaN.
        kept = ops.where(mask, weight, ops.zeros_like(weight))
        if self.inner is None:
            return kept
        return ops.where(mask, self.inner(kept), ops.zeros_like(weight))

    def mask_for(self, weight: Any) -> keras.Variable | None:
        """Return the mask variable that belongs to a weight, or None."""
        return self.mask

    def guard(self, variable: keras.Variable) -> None:
        """Remember a weight, to project it when other weights are loaded."""
        self._guarded[id(variable)] = variable

    def save_own_variables(self, store: Any) -> None:
        """Save the mask, with a checksum: weights files have none of their own."""
        super().save_own_variables(store)
        store[_CHECKSUM] = np.array(self._checksum(), np.uint32)

    def load_own_variables(self, store: Any) -> None:
        """Load the mask, or keep it if the file is that of a model without masks.

        Raises:
            ValueError: If the mask in the file is damaged.
        """
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118
        if saved:
            checksum = saved.pop(_CHECKSUM, None)
            super().load_own_variables(saved)
            if checksum is None or int(checksum) != self._checksum():
                raise ValueError(
                    "The mask in the file is damaged: its checksum differs."
                )
        else:
            self._check_plain_file_can_be_loaded()
        for variable in self._guarded.values():
            mask = self.mask_for(variable)
            variable.assign(ops.where(mask, variable, ops.zeros_like(variable)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild this constraint."""
        return {**self._shared_config(), "shape": list(self.shape)}

    def _checksum(self) -> int:
        checksum = 0
        for mask in self.weights:
            checksum = zlib.crc32(ops.convert_to_numpy(mask).tobytes(), checksum)
        return checksum

    def _check_plain_file_can_be_loaded(self) -> None:
        if not self._guarded:
            raise ValueError(
                "The file comes from a model without masks. To load its weights into a "
                "model that was itself loaded with masks, call "
                "`install_masks(model)` first: it keeps the masks that are there, and "
                "they then apply to what is loaded."
            )

    def _shared_config(self) -> dict[str, Any]:
        return {
            "inner": keras.constraints.serialize(self.inner) if self.inner else None,
            "name": self.name,
        }

    def _add_masks(self) -> None:
        self.shape = tuple(self.shape)
        self.mask = self._add_mask("mask", self.shape)

    def _add_mask(self, name: str, shape: Any) -> keras.Variable:
        return self.add_weight(
            name=name, shape=shape, dtype="bool", initializer="ones", trainable=False
        )


@keras.saving.register_keras_serializable(package="keras_initprune")
class AttentionMaskConstraint(MaskConstraint):
    """Holds the masks of all projections of one attention layer.

    Keras' attention layers hand one constraint to all their projections and save only
    that one, so it has to know which projection it is called for: it goes by the name
    of the layer that owns the weight.

    Args:
        shape: Dictionary from the name of a projection to the shape of its kernel.
        inner: Another constraint on the same weights. Defaults to None.
    """

    def mask_for(self, weight: Any) -> keras.Variable | None:
        """Return the mask variable of the projection that owns a weight, or None."""
        return self.masks.get(owner_name(weight))

    def _check_plain_file_can_be_loaded(self) -> None:
        # Keras loads some of the projections only after their common constraint.
        raise ValueError(
            "The file comes from a model without masks, and this one has an attention "
            "layer with masks. Take them off with `remove_masks`, load the weights, "
            "and put them back with `install_masks` and `set_masks`."
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild this constraint."""
        shape = {name: list(value) for name, value in self.shape.items()}
        return {**self._shared_config(), "shape": shape}

    def _add_masks(self) -> None:
        self.shape = {name: tuple(value) for name, value in self.shape.items()}
        self.masks = {
            name: self._add_mask(f"{name}_mask", value)
            for name, value in self.shape.items()
        }


def owner_name(variable: keras.Variable) -> str:
    """Return the name of the layer that owns a weight."""
    return variable.path.split("/")[-2]
