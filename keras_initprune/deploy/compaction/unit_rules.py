"""Rules of layers without sums over units: elementwise functions, moving, merging."""

import math
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
    Units,
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


Merge = Callable[[Known], Constants]


class Reshaping(Rule):
    """Another shape for the same values in the same order, as in flattening.

    With n units before and m after, the unit of a value goes by its position modulo n
    and modulo m, so units that are equal modulo the greatest common divisor of n and m
    come and go together. Flattening makes one channel into one unit per position.

    Args:
        target_shape: The configuration entry of a `Reshape`, or None.
    """

    def __init__(self, target_shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.target_shape = target_shape

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Keep what is the same constant in all units that come and go together."""
        period = math.gcd(constants_in[0].size, units_out[0])
        rows = constants_in[0].reshape(-1, period)
        # NaN differs from itself, so what varies anywhere is not constant.
        merged = np.where((rows == rows[0]).all(axis=0), rows[0], np.nan)
        return [np.tile(merged, units_out[0] // period)]

    def need(self, facts: Facts) -> None:
        """Keep or drop units that come and go together."""
        sides = (facts.present_in[0], facts.present_out[0])
        period = math.gcd(*(side.size for side in sides))
        rows = [side.reshape(-1, period) for side in sides]
        together = np.concatenate(rows).any(axis=0)
        for row in rows:
            row |= together

    def change(self, facts: Facts, gather: float) -> Change | None:
        """Give a `Reshape` its new last axis."""
        units = facts.present_out[0]
        if self.target_shape is None or units.all():
            return None
        shape = [*self.target_shape[:-1], int(units.sum())]
        return Change(config={"target_shape": shape})


class Merging(Rule):
    """Combines tensors unit by unit; constants of all give a constant.

    Args:
        merge: What becomes of the constants of all inputs, NaN where one varies.
    """

    def __init__(self, merge: Merge) -> None:
        super().__init__()
        self.merge = merge

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Merge constants."""
        results = self.merge(constants_in)
        return [np.where(np.isfinite(results), results, np.nan)]

    def need(self, facts: Facts) -> None:
        """Keep the same units in all inputs and in the output."""
        couple([*facts.present_in, *facts.present_out])


class Concatenation(Rule):
    """Puts the units of its inputs side by side."""

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Put constants side by side."""
        return [np.concatenate(constants_in)]

    def need(self, facts: Facts) -> None:
        """Need each unit where it comes from."""
        begin = 0
        for units in facts.present_in:
            part: Units = facts.present_out[0][begin : begin + units.size]
            couple([units, part])
            begin += units.size


def product(constants: Known) -> Constants:
    """Multiply constants; zero times what varies is zero.

    Example:
        >>> product([np.array([0.0, 2.0, 2.0]), np.array([np.nan, np.nan, 3.0])])
        array([ 0., nan,  6.])
    """
    zero = np.logical_or.reduce([one == 0 for one in constants])
    return np.where(zero, 0.0, np.prod(constants, axis=0))


def same(constants: Known) -> Constants:
    """Keep constants that all inputs share.

    Example:
        >>> same([np.array([1.0, 1.0]), np.array([1.0, 2.0])])
        array([ 1., nan])
    """
    return np.where((np.array(constants) == constants[0]).all(0), constants[0], np.nan)
