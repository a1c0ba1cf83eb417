"""Rules of layers that treat every unit by itself, as activations and pooling do."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_initprune.deploy.compaction.rule import (
    Change,
    Constants,
    Facts,
    Found,
    Known,
    Rule,
    couple,
    taking,
)

Function = Callable[[Any], Any]

# Of Keras' activations these look at more than one unit.
_MIXING = {"softmax", "log_softmax", "glu", "sparsemax"}
_ACTIVATIONS = {
    getattr(keras.activations, name)
    for name in dir(keras.activations)
    if name not in {*_MIXING, "get", "serialize", "deserialize"}
    and not name.startswith("_")
}


def is_elementwise(activation: Any) -> bool:
    """Return whether an activation is known to treat every unit by itself.

    Example:
        >>> is_elementwise(keras.activations.relu)
        True
        >>> is_elementwise(keras.activations.softmax)
        False
    """
    return activation is None or activation in _ACTIVATIONS


def apply(function: Function | None, constants: Constants) -> Constants:
    """Return what a function makes of constants; units that vary still do.

    Example:
        >>> apply(keras.activations.relu, np.array([-1.0, 2.0, np.nan])).tolist()
        [0.0, 2.0, nan]
    """
    results, known = constants.copy(), ~np.isnan(constants)
    if function is not None and known.any():
        values = keras.ops.convert_to_tensor(constants[known][None], "float32")
        results[known] = keras.ops.convert_to_numpy(function(values))[0]
    # A constant that overflows cannot be computed with.
    return np.where(np.isfinite(results), results, np.nan)


class Elementwise(Rule):
    """A function of each unit, without weights: a constant gives a constant.

    Args:
        layer: The layer, if the rule looks at it. Defaults to None.
        function: What becomes of a constant. Defaults to the same constant.
    """

    def __init__(self, layer: Any = None, function: Function | None = None) -> None:
        super().__init__(layer)
        self.function = function

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Apply the function."""
        return [apply(self.function, constants_in[0])]

    def need(self, facts: Facts) -> None:
        """Keep the same units before and after."""
        couple([*facts.present_in, *facts.present_out])


class ZeroPadding(Elementwise):
    """Zeros around what is there: only a constant zero stays constant."""

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Keep zeros."""
        return [np.where(constants_in[0] == 0, 0.0, np.nan)]


class BatchNormalization(Elementwise):
    """Scales and shifts each unit, by its weights alone once it is trained.

    A unit whose scale is zero is constant whatever it reads.
    """

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Scale and shift constants."""
        layer = self.layer
        mean, variance = _float64(layer.moving_mean), _float64(layer.moving_variance)
        scale = 1 / np.sqrt(variance + layer.epsilon)
        if layer.scale:
            scale = scale * _float64(layer.gamma)
        shift = _float64(layer.beta) if layer.center else 0.0
        results = np.where(scale == 0, shift, (constants_in[0] - mean) * scale + shift)
        return [np.where(np.isfinite(results), results, np.nan)]

    def change(self, facts: Facts, gather: float) -> Change | None:
        """Take the part of every weight."""
        units = facts.present_out[0]
        if units.all():
            return None
        names = ["moving_mean", "moving_variance"]
        names += ["gamma"] * self.layer.scale + ["beta"] * self.layer.center
        return Change(slices=dict.fromkeys(names, taking(units)))


class PReLU(Elementwise):
    """A slope for what is negative; what is positive stays as it is."""

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Keep what is not negative: slopes may differ between positions."""
        return [np.where(constants_in[0] >= 0, constants_in[0], np.nan)]

    def change(self, facts: Facts, gather: float) -> Change | None:
        """Take the part of the slopes, unless all units share one."""
        units = facts.present_out[0]
        if units.all() or self.layer.alpha.shape[-1] != units.size:
            return None
        return Change(slices={"alpha": taking(units)})


class Embedding(Rule):
    """Columns of a table: one that is the same in all rows is a constant."""

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Find columns whose entries are equal."""
        table = _float64(self.layer.embeddings)
        same = np.isfinite(table[0]) & (table == table[0]).all(axis=0)
        return [np.where(same, table[0], np.nan)]

    def need(self, facts: Facts) -> None:
        """Need the indices."""
        facts.present_in[0][:] = True

    def change(self, facts: Facts, gather: float) -> Change | None:
        """Take columns of the table."""
        units = facts.present_out[0]
        if units.all():
            return None
        return Change(
            config={"output_dim": int(units.sum())},
            slices={"embeddings": taking(units)},
        )


def _float64(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable).astype(np.float64)
