"""What a kind of layer does with units that are constant or not needed.

A unit is an index of a tensor's last axis: a feature or a channel. Two facts are known
of each: the value that it has for every example at every position, if it is constant,
and whether it has to be there. Constants spread from inputs to outputs, needs from
outputs to inputs.
"""

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

    def prepare(self, inputs: Any) -> Any:
        """Return what the layer reads of a symbolic tensor."""
        return inputs if self.gather is None else _select(inputs, self.gather)

    @property
    def prepares(self) -> bool:
        """Whether the layer reads anything but its input as it is."""
        return self.gather is not None


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


def _select(inputs: Any, positions: NDArray) -> Any:
    if len(inputs.shape) != 2:
        return keras.ops.take(inputs, positions, axis=-1)
    # Whole rows are copied faster than single numbers, and TensorFlow joins the second
    # transposition with the product that follows.
    rows = keras.ops.take(keras.ops.transpose(inputs), positions, axis=0)
    return keras.ops.transpose(rows)


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
