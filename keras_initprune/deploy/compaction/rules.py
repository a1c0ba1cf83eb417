"""What a kind of layer does with units that are constant or not needed.

Here stand the rules of layers without weighted sums, whose rules are in `kernels`.

A unit is an index of a tensor's last axis: a feature or a channel. Two facts are known
of each: the value that it has for every example at every position, if it is constant,
and whether it has to be there. Constants spread from inputs to outputs, needs from
outputs to inputs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Constants = NDArray[np.float64]  # One number per unit, NaN where the unit varies.
Known = Sequence[Constants]  # Those of several tensors.
Found = list[Constants]
Units = NDArray[np.bool_]
Slice = Callable[[NDArray], NDArray]
Function = Callable[[Any], Any]
Merge = Callable[[Known], Constants]

# Of Keras' activations these look at more than one unit.
_MIXING = {"softmax", "log_softmax", "glu", "sparsemax"}
_ACTIVATIONS = {
    getattr(keras.activations, name)
    for name in dir(keras.activations)
    if name not in {*_MIXING, "get", "serialize", "deserialize"}
    and not name.startswith("_")
}


@dataclass(frozen=True)
class Facts:
    """What the analysis knows about the tensors around one call.

    Attributes:
        constants_in: Constants of the tensors that it reads.
        constants_out: Constants of the tensors that it computes.
        present_in: Units that the tensors that it reads still have.
        present_out: Units that the tensors that it computes still have.
    """

    constants_in: Known
    constants_out: Known
    present_in: Sequence[Units]
    present_out: Sequence[Units]


@dataclass(frozen=True)
class Change:
    """How a layer is built anew.

    Attributes:
        config: Entries of the layer's configuration that change.
        slices: From the name of a weight to what takes the part that stays.
        values: New values of weights that change by more than that.
        gather: The positions that the layer reads among the units that its input still
            has, or None if it reads them all.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    slices: Mapping[str, Slice] = field(default_factory=dict)
    values: Mapping[str, NDArray] = field(default_factory=dict)
    gather: NDArray | None = None


class Rule:
    """One call of a layer that is left as it is: all it reads and computes stays.

    Args:
        layer: The layer, if the rule looks at it. Defaults to None.
        why: Why the layer is left alone, for the report. Defaults to "".
    """

    def __init__(self, layer: Any = None, why: str = "") -> None:
        self.layer = layer
        self.why = why

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Return the constants of the tensors that the call computes.

        Args:
            constants_in: Constants of the tensors that it reads.
            units_out: Number of units of each tensor that it computes.
        """
        return [varying(units) for units in units_out]

    def need(self, facts: Facts) -> None:
        """Mark what has to be there, in `facts.present_in` and `facts.present_out`.

        Marks are only ever added, so that going over the graph comes to an end.
        """
        for units in (*facts.present_in, *facts.present_out):
            units[:] = True

    def change(self, facts: Facts, gather: float) -> Change | None:
        """Return how to build the layer anew, or None to copy it.

        Args:
            facts: What the analysis found.
            gather: Fraction of its input's units up to which the layer may read a
                selection of them.
        """
        return None


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
        scale, shift = scale_and_shift(self.layer)
        results = np.where(scale == 0, shift, constants_in[0] * scale + shift)
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


def varying(units: int) -> Constants:
    """Return the constants of units none of which is constant."""
    return np.full(units, np.nan)


def couple(units: Sequence[Units]) -> None:
    """Mark in all tensors what is marked in one: they keep the same units."""
    together = np.logical_or.reduce(units)
    for one in units:
        one |= together


def taking(units: Units, axis: int = -1) -> Slice:
    """Return a function that takes marked units of an array along an axis."""
    return lambda array: np.compress(units, array, axis)


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


def scale_and_shift(layer: keras.layers.BatchNormalization) -> tuple[Any, Any]:
    """Return what trained batch normalisation multiplies each unit by, and adds."""
    scale = 1 / np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * _float64(layer.gamma)
    shift = -_float64(layer.moving_mean) * scale
    return scale, shift + _float64(layer.beta) if layer.center else shift


def _float64(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable).astype(np.float64)
