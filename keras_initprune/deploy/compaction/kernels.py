"""Rules of layers whose units are weighted sums: dense layers and convolutions."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune.deploy.compaction.rules import (
    Change,
    Constants,
    Facts,
    Found,
    Known,
    Rule,
    Slice,
    Units,
    apply,
    is_elementwise,
    taking,
    varying,
)


class Kernel(Rule):
    """A dense layer or a convolution.

    Where zeros are padded, a constant that is not zero adds less at the borders than in
    the middle, which a bias cannot do. One such unit therefore stays, and takes over
    the parts of the others in the kernel, each in proportion to its constant.

    Args:
        layer: The layer.
        is_padded: Whether some positions do not see all of the kernel.
    """

    one_stands_in = True

    def __init__(self, layer: keras.Layer, is_padded: bool = False) -> None:
        super().__init__(layer)
        self.is_padded = is_padded
        self.taps = self._taps()
        self.reads = self._reads()

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Sum up constants; a unit that reads what varies does so too."""
        if not is_elementwise(self.layer.activation):
            return [varying(units_out[0])]
        sums = self._bias() + self._folded(constants_in[0])
        sums[self.reads[~self._foldable(constants_in[0])].any(axis=0)] = np.nan
        return [apply(self.layer.activation, sums)]

    def need(self, facts: Facts) -> None:
        """Need what a needed unit reads, unless it can be folded into the bias."""
        (present_in,), (present_out,) = facts.present_in, facts.present_out
        if not is_elementwise(self.layer.activation):
            present_out[:] = True
        present_in |= self._needed(facts)
        stands_in = self._stand_in(facts)
        if stands_in is not None:
            present_in[stands_in] = True

    def change(self, facts: Facts, gather: float) -> Change | None:
        """Take the part of the kernel and fold constants into the bias."""
        (present_in,), (present_out,) = facts.present_in, facts.present_out
        rows, positions = present_in, None
        if isinstance(self.layer, keras.layers.Dense):
            needed = self._needed(facts)
            if not needed.any():
                needed[np.argmax(present_in)] = True
            count, present = int(needed.sum()), int(present_in.sum())
            if count < present and count <= gather * present:
                rows, positions = needed, np.flatnonzero(needed[present_in])
        constants = facts.constants_in[0]
        settled = self._settled(constants)
        if (
            rows.all()
            and present_out.all()
            and not self.reads[settled][:, present_out].any()
        ):
            return None
        config: dict[str, Any] = {self._size: int(present_out.sum())}
        values = {}
        bias = (self._bias() + self._folded(constants))[present_out]
        if self.layer.use_bias or bias.any():
            config["use_bias"], values["bias"] = True, bias
        settle = functools.partial(self._settle, constants, self._stand_in(facts))
        slices = {"bias": taking(present_out)}
        slices |= self._slices(settle, rows, present_out)
        return Change(config, slices, values, positions)

    @property
    def _size(self) -> str:
        return "units" if isinstance(self.layer, keras.layers.Dense) else "filters"

    def _taps(self) -> NDArray:
        """Return the kernel in the shape (positions, inputs, outputs)."""
        kernel = numbers(self.layer.kernel)
        return kernel.reshape(-1, *kernel.shape[-2:])

    def _reads(self) -> NDArray[np.bool_]:
        """Return which input, by row, which unit reads."""
        return (self.taps != 0).any(axis=0)

    def _slices(self, settle: Slice, rows: Units, outputs: Units) -> dict[str, Slice]:
        return {
            "kernel": lambda array: taking(outputs)(taking(rows, -2)(settle(array)))
        }

    def _foldable(self, constants: Constants) -> Units:
        """Return which inputs add the same to a unit at every position."""
        return (constants == 0) | (~np.isnan(constants) & (not self.is_padded))

    def _folded(self, constants: Constants) -> NDArray:
        """Return what the constants that can be folded add to each unit."""
        rows = np.flatnonzero(self._foldable(constants))
        return constants[rows] @ self.taps[:, rows].sum(axis=0, dtype=np.float64)

    def _needed(self, facts: Facts) -> Units:
        """Return which inputs units that are present read for themselves."""
        read = self.reads[:, facts.present_out[0]].any(axis=1)
        return read & ~self._settled(facts.constants_in[0])

    def _settled(self, constants: Constants) -> Units:
        """Return which inputs need not be there: a bias or another stands in."""
        if self.one_stands_in:
            return ~np.isnan(constants)
        return self._foldable(constants)

    def _stand_in(self, facts: Facts) -> int | None:
        """Return the input that stands in for all constants which no bias can be."""
        constants = facts.constants_in[0]
        merged = self._settled(constants) & ~self._foldable(constants)
        if not self.reads[merged][:, facts.present_out[0]].any():
            return None
        # The largest, whoever reads it, so that all readers agree and none overflows.
        return int(np.argmax(np.nan_to_num(np.abs(constants))))

    def _settle(
        self, constants: Constants, stands_in: int | None, array: NDArray
    ) -> NDArray:
        """Clear what reads settled inputs, in a kernel or in its mask."""
        cleared = np.where(
            self._settled(constants)[:, None], array.dtype.type(0), array
        )
        if stands_in is not None:
            merged = self._settled(constants) & ~self._foldable(constants)
            parts = array[..., merged, :]
            if array.dtype == bool:
                cleared[..., stands_in, :] = parts.any(axis=-2)
            else:
                ratios = (constants[merged] / constants[stands_in])[:, None]
                cleared[..., stands_in, :] = (ratios * parts).sum(axis=-2)
        return cleared

    def _bias(self) -> NDArray:
        if not self.layer.use_bias:
            return np.zeros(self.taps.shape[-1])
        return numbers(self.layer.bias).astype(np.float64)


class Transposed(Kernel):
    """A transposed convolution, whose kernel has its last two axes swapped."""

    def _taps(self) -> NDArray:
        kernel = np.swapaxes(numbers(self.layer.kernel), -1, -2)
        return kernel.reshape(-1, *kernel.shape[-2:])

    def _slices(self, settle: Slice, rows: Units, outputs: Units) -> dict[str, Slice]:
        straight = super()._slices(settle, rows, outputs)["kernel"]
        return {
            "kernel": lambda array: np.swapaxes(
                straight(np.swapaxes(array, -1, -2)), -1, -2
            )
        }


class Separable(Kernel):
    """A depthwise convolution whose outputs a pointwise one reads.

    The depthwise part of one channel cannot stand in for that of others.
    """

    one_stands_in = False

    def _taps(self) -> NDArray:
        depthwise, pointwise = self._pair()
        return np.einsum("tcm,cmf->tcf", depthwise, pointwise)

    def _reads(self) -> NDArray[np.bool_]:
        # Not from the product of both, in which paths may cancel.
        depthwise, pointwise = self._pair()
        reached = (depthwise != 0).any(axis=0)
        return (reached[..., None] & (pointwise != 0)).any(axis=1)

    def _slices(self, settle: Slice, rows: Units, outputs: Units) -> dict[str, Slice]:
        multiplier = self._pair()[0].shape[-1]

        def pointwise(array: NDArray) -> NDArray:
            by_channel = array.reshape(-1, multiplier, array.shape[-1])
            settled = settle(by_channel.swapaxes(0, 1)).swapaxes(0, 1)
            left = taking(outputs)(taking(rows, 0)(settled))
            return left.reshape(*array.shape[:-2], -1, left.shape[-1])

        return {"depthwise_kernel": taking(rows, -2), "pointwise_kernel": pointwise}

    def _pair(self) -> tuple[NDArray, NDArray]:
        depthwise = numbers(self.layer.depthwise_kernel)
        depthwise = depthwise.reshape(-1, *depthwise.shape[-2:])
        pointwise = numbers(self.layer.pointwise_kernel)
        return depthwise, pointwise.reshape(*depthwise.shape[1:], -1)


class Depthwise(Rule):
    """A convolution of each channel by itself, into as many outputs as `multiplier`."""

    def __init__(self, layer: keras.Layer, is_padded: bool) -> None:
        super().__init__(layer)
        self.is_padded = is_padded
        kernel = numbers(layer.kernel)
        self.multiplier = kernel.shape[-1]
        self.taps = kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1])

    def constants(self, constants_in: Known, units_out: Sequence[int]) -> Found:
        """Filter constants."""
        if not is_elementwise(self.layer.activation):
            return [varying(units_out[0])]
        read = constants_in[0].repeat(self.multiplier)
        zero = (read == 0) | ~self.taps.any(axis=0)
        if self.is_padded:
            read = np.where(zero, 0.0, np.nan)
        sums = np.where(zero, 0.0, read * self.taps.sum(axis=0, dtype=np.float64))
        if self.layer.use_bias:
            sums += numbers(self.layer.bias)
        return [apply(self.layer.activation, sums)]

    def need(self, facts: Facts) -> None:
        """Keep a channel together with all that is made of it."""
        (present_in,), (present_out,) = facts.present_in, facts.present_out
        if not is_elementwise(self.layer.activation):
            present_out[:] = True
        present_in |= present_out.reshape(-1, self.multiplier).any(axis=1)
        present_out |= present_in.repeat(self.multiplier)

    def change(self, facts: Facts, gather: float) -> Change | None:
        """Take the part of the kernel and of the bias."""
        (present_in,), (present_out,) = facts.present_in, facts.present_out
        if present_in.all():
            return None
        slices = {"kernel": taking(present_in, -2), "bias": taking(present_out)}
        return Change(slices=slices)


def numbers(variable: Any) -> NDArray:
    """Return the values of a variable, in at least float32."""
    values = keras.ops.convert_to_numpy(variable)
    return values.astype(np.result_type(np.float32, values.dtype), copy=False)
