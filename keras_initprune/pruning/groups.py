"""Which weights compete with each other, how many stay, and what decides on ties."""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_initprune import criteria
from keras_initprune.arrays import patterns
from keras_initprune.arrays.distributions import (
    GLOBAL,
    Distribution,
    allocate,
    count_beside,
)
from keras_initprune.arrays.masks import Mask, Masks, kept_counts
from keras_initprune.constraints.weights import PrunableWeight

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Group:
    """Weights that compete with each other."""

    paths: tuple[str, ...]  # Their tensors.
    start: int  # How many are left.
    end: int  # How many will be kept in the end.
    is_dense: bool = False  # Whether all that are left are kept, in whatever pattern.

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
    """
    sizes = {path: weight.size for path, weight in weights.items()}
    available = kept_counts(eligible)
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
    scores: Arrays,
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


def order_zeros(scores: Arrays, weights: Arrays) -> dict[str, NDArray]:
    """Give scores of 0 an order, that of magnitudes; all others stay as they are.

    Scores tie at 0 where no gradient comes through, as behind units that have lost all
    their inputs. Without an order the first of them in memory would be kept.

    Returns:
        From tensor path to scores. What was 0 is not negative, and smaller than all
        that was positive.

    Example:
        >>> scores = {"a": np.array([0.0, 0.0, 3.0, -1.0])}
        >>> ordered = order_zeros(scores, {"a": np.array([-4.0, 2.0, 1.0, 1.0])})["a"]
        >>> np.argsort(ordered).tolist()
        [3, 1, 0, 2]
    """
    smallest = min(
        (float(np.min(s, where=s > 0, initial=np.inf)) for s in scores.values()),
        default=np.inf,
    )
    largest = max((float(np.abs(w).max()) for w in weights.values()), default=0.0)
    below = min(smallest, 1.0) / 2 / (largest or 1.0)
    return {
        path: np.where(score == 0, below * np.abs(weights[path], dtype=float), score)
        if (score == 0).any()
        else score
        for path, score in scores.items()
    }


def undecided(
    groups: Collection[Group], scores: Arrays, eligible: Mapping[str, Mask]
) -> list[Group]:
    """Return the groups of which some weights are to go, and all score the same.

    Example:
        >>> groups = [Group(("a",), 2, 1), Group(("b",), 2, 1)]
        >>> scores = {"a": np.zeros(2), "b": np.arange(2.0)}
        >>> all_there = dict.fromkeys("ab", np.ones(2, bool))
        >>> [group.paths for group in undecided(groups, scores, all_there)]
        [('a',)]
    """
    found = []
    for group in _choosing(groups):
        left = [scores[path][eligible[path]] for path in group.paths]
        left = [array for array in left if array.size]
        lowest, highest = min(a.min() for a in left), max(a.max() for a in left)
        if lowest == highest:
            found.append(group)
    return found


def check_choice(
    groups: Collection[Group],
    scores: Arrays,
    eligible: Mapping[str, Mask],
    criterion: criteria.Criterion,
) -> None:
    """Raise if a criterion has nothing to choose by, or warn if so somewhere."""
    found = undecided(groups, scores, eligible)
    if not found:
        return
    paths = [path for group in found for path in group.paths]
    listed = ", ".join(map(repr, paths[:5])) + (", ..." if len(paths) > 5 else "")
    value = scores[paths[0]][eligible[paths[0]]][0]
    message = (
        f"{type(criterion).__name__} gives all weights of {listed} the same score "
        f"({value:g}), so there is nothing to choose by"
    )
    advice = (
        "Look for layers whose weights are all zero or all equal, through which no "
        "gradient or no difference comes: initialise them otherwise, leave them out "
        "with `layers`, or choose another method."
    )
    if len(found) == len(_choosing(groups)):
        raise ValueError(f"{message}. {advice}")
    kept = "the largest, and of equals the first" if value == 0 else "the first"
    warnings.warn(f"{message}: {kept} are kept. {advice}", stacklevel=4)


def _choosing(groups: Collection[Group]) -> list[Group]:
    return [g for g in groups if not g.is_dense and 0 < g.end < g.start]
