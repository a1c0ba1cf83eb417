"""Patterns: which shapes of masks a criterion can be asked for.

A pattern takes scores and a number of weights to keep, and picks which. Units run along
the inputs of a unit, and so does N:M where it names no axis: the axes of a kernel that
do not index output units, flattened in memory order, which is `(height, width,
channels)` for a convolution.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.arrays.distributions import GLOBAL, Distribution, allocate_among
from keras_initprune.arrays.masks import (
    Mask,
    from_unit_rows,
    kept_counts,
    top_k_mask,
    top_k_unit_mask,
    unit_rows,
)
from keras_initprune.arrays.ranking import global_top_k

UnitAxes = Sequence[int]


@dataclass(frozen=True, eq=False)
class Tensor:
    """What a pattern has to know about one tensor."""

    scores: NDArray  # Higher = keep.
    eligible: Mask  # True where a weight may be kept.
    unit_axes: UnitAxes = (-1,)  # Axes that index output units.
    # Name of the units, where tensors that are added up share them; else "".
    tie: str = ""


Tensors = Mapping[str, Tensor]


class Pattern:
    """Any weights: the pattern of unstructured pruning, and the base of the others.

    Example:
        >>> scores = np.array([[4.0, 1.0], [3.0, 2.0]])
        >>> tensors = {"a": Tensor(scores, np.ones((2, 2), bool))}
        >>> Pattern().masks(tensors, 2)["a"].astype(int).tolist()
        [[1, 0], [1, 0]]
    """

    @property
    def sparsity(self) -> float | None:
        """Sparsity of every tensor, where the pattern fixes it."""
        return None

    def check(self, path: str, shape: Sequence[int], unit_axes: UnitAxes) -> None:
        """Raise unless a tensor can have this pattern.

        Args:
            path: Path of the tensor.
            shape: Its shape.
            unit_axes: Its axes that index output units.

        Raises:
            ValueError: Names the tensor.
        """

    def groups(self, ties: Mapping[str, str]) -> list[tuple[str, ...]]:
        """Return the tensors whose counts go together where tensors do not compete.

        Args:
            ties: From tensor path to the name of its units, see `Tensor`.
        """
        return [(path,) for path in ties]

    def masks(self, tensors: Tensors, count: int) -> dict[str, Mask]:
        """Keep `count` weights of tensors that compete with each other.

        Args:
            tensors: From tensor path to what is known of it.
            count: How many weights to keep in all of them.

        Returns:
            From tensor path to mask.
        """
        if len(tensors) == 1:
            ((path, tensor),) = tensors.items()
            return {path: top_k_mask(tensor.scores, count, tensor.eligible)}
        return global_top_k(
            {path: tensor.scores for path, tensor in tensors.items()},
            count,
            {path: tensor.eligible for path, tensor in tensors.items()},
        )


@dataclass(frozen=True)
class Units(Pattern):
    """Constant fan-in: every output unit of a tensor keeps equally many weights.

    Where the count of a tensor is not a multiple of its units, the first units keep one
    weight more. Of tensors that compete each gets the count of the unstructured
    ranking, which its units share.

    Example:
        >>> scores = np.array([[4.0, 1.0], [3.0, 2.0]])
        >>> tensors = {"a": Tensor(scores, np.ones((2, 2), bool))}
        >>> Units().masks(tensors, 2)["a"].astype(int).tolist()
        [[1, 0], [0, 1]]
    """

    def masks(self, tensors: Tensors, count: int) -> dict[str, Mask]:
        """Keep the best weights of every unit."""
        counts = dict.fromkeys(tensors, count)
        if len(tensors) > 1:
            counts = kept_counts(super().masks(tensors, count))
        masks = {}
        for path, t in tensors.items():
            try:
                masks[path] = top_k_unit_mask(
                    t.scores, counts[path], t.eligible, t.unit_axes
                )
            except ValueError as error:
                raise ValueError(
                    f"{path!r} cannot get a constant fan-in. {error}"
                ) from error
        return masks


@dataclass(frozen=True)
class WholeUnits(Pattern):
    """Whole output units are kept or removed: columns, or filters of a convolution.

    Units compete by the mean score of their weights. Tensors of one tie lose the same
    units, which compete by the mean over all of these tensors. Every tensor keeps one
    unit at least; otherwise as many are kept as come closest to the count.

    References:
        - Li et al. 2017, "Pruning filters for efficient ConvNets" (arXiv 1608.08710)

    Example:
        >>> scores = np.array([[4.0, 1.0], [3.0, 2.0]])
        >>> tensors = {"a": Tensor(scores, np.ones((2, 2), bool))}
        >>> WholeUnits().masks(tensors, 2)["a"].astype(int).tolist()
        [[1, 0], [1, 0]]
    """

    def groups(self, ties: Mapping[str, str]) -> list[tuple[str, ...]]:
        """Put tensors that share their units together."""
        found: dict[str, list[str]] = {}
        for path, tie in ties.items():
            found.setdefault(tie or path, []).append(path)
        return [tuple(paths) for paths in found.values()]

    def masks(self, tensors: Tensors, count: int) -> dict[str, Mask]:
        """Keep the units with the highest means."""
        units = unit_scores(tensors)
        contenders = np.concatenate([_best_first(unit) for unit in units.values()])
        sizes = np.repeat(
            [unit.weights for unit in units.values()],
            [unit.means.size for unit in units.values()],
        )
        # Stable, so that the first of equals win.
        order = np.argsort(-contenders, kind="stable")
        filled = np.cumsum(sizes[order]) - sizes[order] / 2
        kept = np.zeros(order.size, bool)
        kept[order[(filled <= count) | np.isposinf(contenders[order])]] = True
        kept &= ~np.isneginf(contenders)
        ends = np.cumsum([unit.means.size for unit in units.values()])[:-1]
        return expand_units(
            tensors, dict(zip(units, np.split(kept, ends), strict=True))
        )


@dataclass(frozen=True, eq=False)
class UnitScores:
    """Scores of the units that some tensors share."""

    means: NDArray  # Over the weights of every unit, -inf where none is eligible.
    weights: int  # Number of weights that a unit has in all of the tensors.


def unit_scores(tensors: Tensors) -> dict[str, UnitScores]:
    """Return the scores of units, by the name of their tie or the path of their tensor.

    Raises:
        ValueError: If tensors of one tie differ in their number of units.

    Example:
        >>> scores = np.array([[4.0, 1.0], [3.0, 2.0]])
        >>> tensors = {"a": Tensor(scores, np.ones((2, 2), bool))}
        >>> unit_scores(tensors)["a"].means.tolist()
        [3.5, 1.5]
    """
    found = {}
    ties = {path: tensor.tie for path, tensor in tensors.items()}
    for paths in WholeUnits().groups(ties):
        rows = [_eligible_rows(tensors[path]) for path in paths]
        if len({len(scores) for scores, _ in rows}) > 1:
            raise ValueError(
                f"Tensors that share their units must have equally many: {paths}. "
                f"Received: {[len(scores) for scores, _ in rows]} units"
            )
        weights = sum(scores.shape[1] for scores, _ in rows)
        totals = np.sum([scores.sum(axis=1) for scores, _ in rows], axis=0)
        alive = np.any([eligible.any(axis=1) for _, eligible in rows], axis=0)
        means = np.where(alive, totals / weights, -np.inf)
        found[tensors[paths[0]].tie or paths[0]] = UnitScores(means, weights)
    return found


def expand_units(tensors: Tensors, kept: Mapping[str, Mask]) -> dict[str, Mask]:
    """Return the masks of weights whose units are kept.

    Args:
        tensors: From tensor path to what is known of it.
        kept: By the names that `unit_scores` gives, which units are kept.
    """
    masks = {}
    for path, tensor in tensors.items():
        rows = unit_rows(tensor.eligible, tensor.unit_axes)
        chosen = rows & kept[tensor.tie or path][:, None]
        masks[path] = from_unit_rows(chosen, tensor.scores.shape, tensor.unit_axes)
    return masks


@dataclass(frozen=True)
class NOfM(Pattern):
    """N:M sparsity: of every M consecutive weights along an axis at most N are kept.

    By default the groups lie along the last of the axes that do not index output units:
    the inputs of a dense kernel, the input channels of a convolution at each of its
    positions, which is the direction in which hardware for 2:4 multiplies. The sparsity
    of every tensor is `1 - N / M`.

    Args:
        n: Weights kept of each group.
        m: Size of a group; it must divide the axis.
        axis: Axis of the tensors that the groups lie along, such as -1 for the units of
            dense kernels and the filters of convolutions. Defaults to None: the inputs.

    References:
        - Mishra et al. 2021, "Accelerating sparse deep neural networks"
          (arXiv 2104.08378)
        - Zhou et al. 2021, "Learning N:M fine-grained structured sparse neural networks
          from scratch" (arXiv 2102.04010)

    Example:
        >>> scores = np.array([[1.0], [4.0], [2.0], [3.0]])
        >>> tensors = {"a": Tensor(scores, np.ones((4, 1), bool))}
        >>> NOfM(2, 4).masks(tensors, 2)["a"].ravel().astype(int).tolist()
        [0, 1, 0, 1]
    """

    n: int
    m: int
    axis: int | None = None

    def __post_init__(self) -> None:
        for name in ("n", "m"):
            validation.check_natural_number(getattr(self, name), name)
        is_integer = isinstance(self.axis, Integral) and type(self.axis) is not bool
        if self.axis is not None and not is_integer:
            raise ValueError(
                "`axis` must be None (the inputs) or an integer. "
                f"Received: axis={self.axis!r}"
            )
        if not 0 < self.n < self.m:
            raise ValueError(
                "`pattern` must keep at least one weight of each group and not all: "
                f"N:M with 0 < `n` < `m`. Received: pattern='{self.n}:{self.m}'"
            )

    @property
    def sparsity(self) -> float:
        """`1 - N / M`."""
        return 1 - self.n / self.m

    def check(self, path: str, shape: Sequence[int], unit_axes: UnitAxes) -> None:
        """Raise unless the axis is there and M divides it."""
        self._axis(path, shape, unit_axes)

    def _axis(self, path: str, shape: Sequence[int], unit_axes: UnitAxes) -> int:
        if self.axis is None:
            axis, _ = _axes(path, shape, unit_axes)
        elif -len(shape) <= self.axis < len(shape):
            axis = self.axis % len(shape)
        else:
            raise ValueError(
                f"`pattern` needs the axis that it names, and {path!r} lacks axis "
                f"{self.axis}. Received: the shape {tuple(shape)}"
            )
        if shape[axis] % self.m:
            raise ValueError(
                f"`pattern='{self.n}:{self.m}'` needs an axis that divides by {self.m}:"
                f" axis {axis} of {path!r} does not. Leave the layer out with `layers`,"
                f" or keep it `dense`. Received: the shape {tuple(shape)}"
            )
        return axis

    def masks(self, tensors: Tensors, count: int) -> dict[str, Mask]:
        """Keep the best of every group: `count / size` of it, rounded up."""
        masks = {}
        for path, tensor in tensors.items():
            axis = self._axis(path, tensor.scores.shape, tensor.unit_axes)
            kept = -(-self.m * count // tensor.scores.size)
            masks[path] = self._mask(tensor, kept, axis)
        return masks

    def _mask(self, tensor: Tensor, kept: int, axis: int) -> Mask:
        scores = np.moveaxis(tensor.scores.astype(np.float64), axis, -1)
        allowed = np.moveaxis(tensor.eligible, axis, -1).reshape(-1, self.m)
        groups = np.where(allowed, scores.reshape(-1, self.m), -np.inf)
        # Stable, so that the first of equals win.
        best = np.argsort(-groups, axis=1, kind="stable")[:, :kept]
        mask = np.zeros(groups.shape, bool)
        np.put_along_axis(mask, best, True, axis=1)
        mask = (mask & allowed).reshape(scores.shape)
        return np.ascontiguousarray(np.moveaxis(mask, -1, axis))


@dataclass(frozen=True)
class Blocks(Pattern):
    """Blocks of inputs by outputs are kept or removed as a whole, by their sum.

    The blocks lie in the last axis that does not index output units and the last that
    does: inputs by units of a dense kernel, input channels by filters at each position
    of a convolution. The number kept is the count over the size of a block, rounded.

    Args:
        inputs: Size of a block along the inputs.
        outputs: Size of a block along the output units.

    References:
        - Gray et al. 2017, "GPU kernels for block-sparse weights" (OpenAI)
        - Narang et al. 2017, "Block-sparse recurrent neural networks"
          (arXiv 1711.02782)

    Example:
        >>> scores = np.array([[1.0, 1.0, 0.0, 3.0], [1.0, 1.0, 0.0, 0.0]])
        >>> tensors = {"a": Tensor(scores, np.ones((2, 4), bool))}
        >>> Blocks(2, 2).masks(tensors, 4)["a"].astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
    """

    inputs: int
    outputs: int

    def __post_init__(self) -> None:
        if min(self.inputs, self.outputs) < 1:
            raise ValueError(
                "`pattern` must name a block of at least 1 x 1. "
                f"Received: pattern=({self.inputs}, {self.outputs})"
            )

    def check(self, path: str, shape: Sequence[int], unit_axes: UnitAxes) -> None:
        """Raise unless blocks tile the tensor."""
        input_axis, output_axis = _axes(path, shape, unit_axes)
        if shape[input_axis] % self.inputs or shape[output_axis] % self.outputs:
            raise ValueError(
                f"Blocks of `pattern=({self.inputs}, {self.outputs})` must tile axes "
                f"{input_axis} and {output_axis} of {path!r}, which they do not. Leave "
                "the layer out with `layers`, or keep it `dense`. "
                f"Received: the shape {tuple(shape)}"
            )

    def masks(self, tensors: Tensors, count: int) -> dict[str, Mask]:
        """Keep the blocks with the highest sums."""
        size = self.inputs * self.outputs
        reduced = {path: self._reduce(path, t) for path, t in tensors.items()}
        # A tensor that keeps nothing would let nothing pass.
        blocks = max(round(count / size), len(tensors))
        masks = Pattern().masks(reduced, blocks)
        return {
            path: self._expand(masks[path], tensor) & tensor.eligible
            for path, tensor in tensors.items()
        }

    def _reduce(self, path: str, tensor: Tensor) -> Tensor:
        """Return the same with one entry per block."""
        shape = tensor.scores.shape
        self.check(path, shape, tensor.unit_axes)
        split: list[int] = []
        for length, block in zip(shape, self._block(tensor), strict=True):
            split += [length // block, block]
        inner = tuple(range(1, len(split), 2))
        scores = np.where(tensor.eligible, tensor.scores.astype(np.float64), 0.0)
        return Tensor(
            scores.reshape(split).sum(axis=inner),
            np.asarray(tensor.eligible.reshape(split).any(axis=inner)),
            tensor.unit_axes,
        )

    def _expand(self, mask: Mask, tensor: Tensor) -> Mask:
        for axis, length in enumerate(self._block(tensor)):
            mask = np.repeat(mask, length, axis=axis)
        return mask

    def _block(self, tensor: Tensor) -> list[int]:
        """Return the size of a block along every axis."""
        block = [1] * tensor.scores.ndim
        inputs, outputs = _axes("", tensor.scores.shape, tensor.unit_axes)
        block[inputs], block[outputs] = self.inputs, self.outputs
        return block


_NAMED = {None: Pattern, "unit": Units, "units": WholeUnits}


def get(identifier: Any) -> Pattern:
    """Return a pattern.

    Args:
        identifier: None for any weights, `"unit"` (constant fan-in), `"units"` (whole
            units), `"N:M"` such as `"2:4"`, a block `(inputs, outputs)`, or a
            `Pattern`.

    Raises:
        ValueError: If it is none of these.

    Example:
        >>> get("2:4"), get((8, 8))
        (NOfM(n=2, m=4, axis=None), Blocks(inputs=8, outputs=8))
    """
    if isinstance(identifier, Pattern):
        return identifier
    if isinstance(identifier, str | None) and identifier in _NAMED:
        return _NAMED[identifier]()
    if isinstance(identifier, str) and re.fullmatch(r"\d+:\d+", identifier):
        return NOfM(*map(int, identifier.split(":")))
    is_block = isinstance(identifier, tuple | list)
    if is_block and [type(size) for size in identifier] == [int, int]:
        return Blocks(*identifier)
    raise ValueError(
        "`pattern` must be None, 'unit' (constant fan-in), 'units' (whole units), "
        "'N:M' such as '2:4', or the size of a block, (inputs, outputs). "
        f"Received: pattern={identifier!r}"
    )


def pattern_masks(
    pattern: Pattern, tensors: Tensors, sparsity: float, distribution: Distribution
) -> dict[str, Mask]:
    """Keep the highest scores in a pattern, at an overall sparsity.

    Example:
        >>> scores = np.array([[4.0, 1.0], [3.0, 2.0]])
        >>> tensors = {"a": Tensor(scores, np.ones((2, 2), bool))}
        >>> pattern_masks(WholeUnits(), tensors, 0.5, "uniform")["a"].sum(axis=0)
        array([2, 0])
    """
    if distribution == GLOBAL:
        size = sum(tensor.scores.size for tensor in tensors.values())
        return pattern.masks(tensors, round((1.0 - sparsity) * size))
    eligible = {path: tensor.eligible for path, tensor in tensors.items()}
    counts = allocate_among(eligible, sparsity, distribution)
    masks: dict[str, Mask] = {}
    for paths in pattern.groups({path: t.tie for path, t in tensors.items()}):
        group = {path: tensors[path] for path in paths}
        masks |= pattern.masks(group, sum(counts[path] for path in paths))
    return {path: masks[path] for path in tensors}


def _eligible_rows(tensor: Tensor) -> tuple[NDArray, Mask]:
    """Return scores and what is eligible in the shape (units, weights of each)."""
    eligible = unit_rows(tensor.eligible, tensor.unit_axes)
    rows = unit_rows(np.asarray(tensor.scores, np.float64), tensor.unit_axes)
    return np.where(eligible, rows, 0.0), eligible


def _best_first(units: UnitScores) -> NDArray:
    """Return the means, that of the best unit raised so that it always wins."""
    means = units.means.copy()
    means[np.argmax(means)] = np.inf
    return means


def _axes(path: str, shape: Sequence[int], unit_axes: UnitAxes) -> tuple[int, int]:
    """Return the last axis that does not index output units, and the last that does."""
    outputs = [axis % len(shape) for axis in unit_axes]
    inputs = [axis for axis in range(len(shape)) if axis not in outputs]
    if not inputs or not outputs:
        raise ValueError(
            f"`pattern` needs axes of inputs and of outputs, and {path!r} lacks one. "
            f"Received: the shape {tuple(shape)}"
        )
    return inputs[-1], max(outputs)
