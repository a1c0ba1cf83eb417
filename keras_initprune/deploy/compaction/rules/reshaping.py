"""Rules of layers that only move values: flattening, reshaping, merging."""

import math
from collections.abc import Callable, Sequence

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
)

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
