"""Which weights compete with each other, and how many of them are kept."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_initprune.arrays import patterns
from keras_initprune.arrays.distributions import (
    GLOBAL,
    Distribution,
    allocate,
    count_beside,
)
from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints.weights import PrunableWeight

Masks = dict[str, Mask]


@dataclass(frozen=True)
class Group:
    """Weights that compete with each other.

    Attributes:
        paths: Their tensors.
        start: How many are left.
        end: How many will be kept in the end.
        is_dense: Whether all that are left are kept, in whatever pattern.
    """

    paths: tuple[str, ...]
    start: int
    end: int
    is_dense: bool = False

    def count(self, progress: float) -> int:
        """Return how many are kept on the way, geometrically in density."""
        return round(self.start ** (1.0 - progress) * self.end**progress)


def make_groups(
    weights: Mapping[str, PrunableWeight],
    eligible: Masks,
    sparsity: float,
    distribution: Distribution,
    dense: Collection[str],
    tied: Collection[tuple[str, ...]],
) -> list[Group]:
    """Say what competes with what, and how many weights are kept in the end.

    `tied` are the tensors, those together whose counts go together.

    Raises:
        ValueError: If the model is sparser already, or a tensor would vanish.
    """
    sizes = {path: weight.size for path, weight in weights.items()}
    available = {path: int(np.count_nonzero(mask)) for path, mask in eligible.items()}
    now = 1 - sum(available.values()) / sum(sizes.values())
    if sum(available.values()) < round((1.0 - sparsity) * sum(sizes.values())):
        raise ValueError(
            "`sparsity` must not lie below that of the model, whose masks remove "
            f"{now:.4f} of the weights already. Received: sparsity={sparsity}"
        )
    if distribution == GLOBAL:
        kept = {path: available[path] for path in dense}
        rest = tuple(path for path in weights if path not in kept)
        start = sum(available[path] for path in rest)
        groups = [Group((path,), n, n, is_dense=True) for path, n in kept.items()]
        if rest:
            groups.append(Group(rest, start, count_beside(sizes, sparsity, kept)))
        return groups
    shapes = {path: weight.shape for path, weight in weights.items()}
    counts = allocate(shapes, sparsity, distribution, available, dense)
    return [
        Group(
            paths,
            sum(available[path] for path in paths),
            sum(counts[path] for path in paths),
            is_dense=not set(paths).isdisjoint(dense),
        )
        for paths in tied
    ]


def select_masks(
    pattern: patterns.Pattern,
    groups: Collection[Group],
    scores: Mapping[str, NDArray],
    eligible: Masks,
    weights: Mapping[str, PrunableWeight],
    ties: Mapping[str, str],
    progress: float,
) -> Masks:
    """Keep the highest scores, as many as at this point of the schedule."""
    masks: Masks = {}
    for group in groups:
        if group.is_dense:
            masks.update({path: eligible[path] for path in group.paths})
            continue
        tensors = {
            path: patterns.Tensor(
                scores[path], eligible[path], weights[path].unit_axes, ties[path]
            )
            for path in group.paths
        }
        masks.update(pattern.masks(tensors, group.count(progress)))
    return {path: masks[path] for path in weights}
