"""K-starts as pure functions: the fittest of k random masks.

A mask's fitness is the sum of the fitness of the weights that it keeps. `SELECTIONS`
says what competes with what. Candidates are drawn again whenever they are needed and
never held, so memory does not depend on k.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.arrays import masks as masking
from keras_initprune.arrays import patterns
from keras_initprune.arrays.distributions import (
    GLOBAL,
    Distribution,
    allocate,
    allocate_among,
)
from keras_initprune.arrays.masks import Mask
from keras_initprune.arrays.ranking import rank_masks

SelectionName = Literal["network", "layer", "unit", "recombine"]

_BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class Tensor:
    """What selection has to know about one tensor."""

    fitness: NDArray  # Of every weight.
    count: int  # How many weights a candidate keeps.
    key: str  # Name of the tensor for the random generator.
    unit_axes: tuple[int, ...] = (-1,)  # Axes that index output units.

    def candidate(self, seed: int, index: int, by_unit: bool = False) -> Mask:
        """Draw candidate `index`, the same whenever and wherever it is drawn.

        With `by_unit` every unit has the same fan-in.
        """
        key, shape = masking.candidate_key(seed, self.key, index), self.fitness.shape
        if by_unit:
            return masking.random_unit_mask(shape, self.count, key, self.unit_axes)
        return masking.random_mask(shape, self.count, key)


Tensors = Mapping[str, Tensor]


def fittest_network(tensors: Tensors, k: int, seed: int) -> dict[str, Mask]:
    """Return the fittest of k whole networks: one index for all tensors."""
    scores = [fitness_of_candidates(t, k, seed) for t in tensors.values()]
    best = int(np.argmax(np.sum(scores, axis=0)))
    return {path: t.candidate(seed, best) for path, t in tensors.items()}


def fittest_layers(tensors: Tensors, k: int, seed: int) -> dict[str, Mask]:
    """Return the fittest of k masks for every tensor."""
    best = {
        path: int(np.argmax(fitness_of_candidates(tensor, k, seed)))
        for path, tensor in tensors.items()
    }
    return {path: t.candidate(seed, best[path]) for path, t in tensors.items()}


def fittest_units(tensors: Tensors, k: int, seed: int) -> dict[str, Mask]:
    """Return the fittest of k masks for every output unit, all of the same fan-in."""
    return {path: _fittest_rows(t, k, seed) for path, t in tensors.items()}


def recombined(tensors: Tensors, k: int, seed: int) -> dict[str, Mask]:
    """Return the offspring of k masks: the fittest weights of their union."""
    return {
        path: masking.top_k_mask(t.fitness, t.count, _union(t, k, seed))
        for path, t in tensors.items()
    }


SELECTIONS: dict[str, Callable[[Tensors, int, int], dict[str, Mask]]] = {
    "network": fittest_network,
    "layer": fittest_layers,
    "unit": fittest_units,
    "recombine": recombined,
}


def check_selection(selection: str, distribution: Distribution) -> str:
    """Return `selection`, or raise unless it is known and fits the distribution."""
    validation.check_choice(selection, "selection", SELECTIONS)
    if distribution == GLOBAL and selection != "recombine":
        raise ValueError(
            '`distribution="global"` ranks weights, which only '
            "`selection=\"recombine\"` does: choose 'erk', 'uniform' or a "
            f"dictionary. Received: selection={selection!r}"
        )
    return selection


def k_starts_masks(
    fitness: Mapping[str, NDArray],
    k: int,
    sparsity: float,
    selection: SelectionName | str = "recombine",
    distribution: Distribution = "erk",
    seed: int = 0,
    keys: Mapping[str, str] | None = None,
    unit_axes: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Mask]:
    """Return the fittest masks that k random starts yield.

    Args:
        fitness: From tensor path to the fitness of every weight.
        k: Number of random masks per tensor.
        sparsity: Overall fraction removed, in [0, 1).
        selection: `"network"`, `"layer"`, `"unit"` or `"recombine"`.
        distribution: `"uniform"`, `"erk"` or a dictionary; with `"recombine"` also
            `"global"`: uniform parents, whose weights compete over the whole network.
        seed: Seed of the candidates.
        keys: From tensor path to its name for the generator. Defaults to the path.
        unit_axes: From tensor path to the axes that index output units. Defaults to
            the last axis.

    Returns:
        From tensor path to mask; the counts are exact.

    Raises:
        ValueError: If `selection` is unknown or does not fit the distribution, or a
            tensor would keep nothing.

    References:
        - "What to prune and what not to prune at initialization" (arXiv 2209.02201)

    Example:
        >>> masks = k_starts_masks({"a": np.arange(100.0)}, k=8, sparsity=0.9)
        >>> int(masks["a"].sum())
        10
    """
    check_selection(selection, distribution)
    tensors = as_tensors(fitness, sparsity, distribution, keys, unit_axes)
    if distribution == GLOBAL:
        unions = {path: _union(t, k, seed) for path, t in tensors.items()}
        return rank_masks(fitness, sparsity, GLOBAL, unions)
    return SELECTIONS[selection](tensors, k, seed)


def k_starts_units(
    tensors: patterns.Tensors,
    k: int,
    sparsity: float,
    selection: str,
    distribution: Distribution,
    seed: int,
    keys: Mapping[str, str],
) -> dict[str, Mask]:
    """Return the fittest masks of whole units that k random starts yield.

    The fitness of a unit is the mean over its weights. Tensors that share their units
    lose the same ones. The arguments are those of `k_starts_masks`, with fitness as
    scores of `tensors`.

    Example:
        >>> tensors = {"a": patterns.Tensor(np.eye(4), np.ones((4, 4), bool))}
        >>> masks = k_starts_units(
        ...     tensors, 8, 0.5, "recombine", "uniform", 0, keys={"a": "a"}
        ... )
        >>> sorted(masks["a"].sum(axis=0).tolist())
        [0, 0, 4, 4]
    """
    counts = allocate(
        {path: tensor.scores.shape for path, tensor in tensors.items()},
        sparsity,
        distribution,
    )
    units = patterns.unit_scores(tensors)
    kept = dict.fromkeys(units, 0)
    for path, count in counts.items():
        kept[tensors[path].tie or path] += count
    selected = SELECTIONS[selection](
        {
            name: Tensor(
                fitness=unit.means,
                count=min(max(1, round(kept[name] / unit.weights)), unit.means.size),
                key=keys[name],
            )
            for name, unit in units.items()
        },
        k,
        seed,
    )
    return patterns.expand_units(tensors, selected)


def random_masks(
    eligible: Mapping[str, Mask],
    sparsity: float,
    distribution: Distribution = "erk",
    seed: int = 0,
    keys: Mapping[str, str] | None = None,
) -> dict[str, Mask]:
    """Return one random mask per tensor, of weights that are eligible.

    The other arguments are those of `k_starts_masks`.

    Returns:
        From tensor path to mask; the counts are exact.

    Raises:
        ValueError: If a tensor would keep nothing.

    Example:
        >>> int(random_masks({"a": np.ones(100, bool)}, 0.9)["a"].sum())
        10
    """
    counts = allocate_among(eligible, sparsity, distribution)
    masks = {}
    for path, mask in eligible.items():
        key = masking.candidate_key(seed, keys[path] if keys else path, 0)
        masks[path] = masking.random_mask(mask.shape, counts[path], key, mask)
    return masks


def selection_record(
    fitness: Mapping[str, NDArray],
    k: int,
    sparsity: float,
    selection: SelectionName | str = "recombine",
    distribution: Distribution = "erk",
    seed: int = 0,
    unit_axes: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Any]:
    """Return what a selection gains, for `plots.candidate_fitness`.

    Fitness is that of masks of all tensors together. The arguments are those of
    `k_starts_masks`.

    Returns:
        `label`, the name of the selection; `candidates`, the fitness of each of the k
        random masks; `selected`, that of the mask which `k_starts_masks` returns; and
        `top`, that of the fittest weights, as many per tensor.

    Raises:
        ValueError: If `selection` is unknown or does not fit the distribution, or a
            tensor would keep nothing.

    Example:
        >>> record = selection_record({"a": np.arange(100.0)}, k=8, sparsity=0.9)
        >>> max(record["candidates"]) < record["selected"] <= record["top"]
        True
    """
    selected = k_starts_masks(
        fitness, k, sparsity, selection, distribution, seed, unit_axes=unit_axes
    )
    tensors = as_tensors(fitness, sparsity, distribution, unit_axes=unit_axes)
    candidates = [
        fitness_of_candidates(tensor, k, seed, by_unit=selection == "unit")
        for tensor in tensors.values()
    ]
    top = rank_masks(fitness, sparsity, distribution)
    return {
        "label": selection.capitalize(),
        "candidates": np.sum(candidates, axis=0).tolist(),
        "selected": sum(fitness_of(fitness[p], mask) for p, mask in selected.items()),
        "top": sum(fitness_of(fitness[p], mask) for p, mask in top.items()),
    }


def as_tensors(
    fitness: Mapping[str, NDArray],
    sparsity: float,
    distribution: Distribution = "erk",
    keys: Mapping[str, str] | None = None,
    unit_axes: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Tensor]:
    """Return what selection has to know; arguments as in `k_starts_masks`."""
    counts = allocate(
        {path: array.shape for path, array in fitness.items()},
        sparsity,
        "uniform" if distribution == GLOBAL else distribution,
    )
    return {
        path: Tensor(
            fitness=array,
            count=counts[path],
            key=keys[path] if keys else path,
            unit_axes=unit_axes[path] if unit_axes else (-1,),
        )
        for path, array in fitness.items()
    }


def fitness_of_candidates(
    tensor: Tensor, k: int, seed: int, by_unit: bool = False
) -> list[float]:
    """Return the fitness of each of a tensor's k candidate masks."""
    return [
        fitness_of(tensor.fitness, tensor.candidate(seed, index, by_unit))
        for index in range(k)
    ]


def fitness_of(fitness: NDArray, mask: Mask) -> float:
    """Return the fitness of a mask: the sum over the weights that it keeps."""
    # In blocks: what is picked out of one stays in the cache until it is added up.
    fitness, kept = fitness.ravel(), mask.ravel()
    blocks = (slice(begin, begin + _BLOCK) for begin in range(0, kept.size, _BLOCK))
    return sum(float(fitness[b][kept[b]].sum(dtype=np.float64)) for b in blocks)


def _union(tensor: Tensor, k: int, seed: int) -> Mask:
    union = np.zeros(tensor.fitness.shape, bool)
    for index in range(k):
        np.logical_or(union, tensor.candidate(seed, index), out=union)
        if union.all():
            break
    return union


def _fittest_rows(tensor: Tensor, k: int, seed: int) -> Mask:
    fitness = masking.unit_rows(tensor.fitness, tensor.unit_axes)
    best_rows = np.zeros(fitness.shape, bool)
    best = np.full(fitness.shape[0], -np.inf)
    for index in range(k):
        mask = tensor.candidate(seed, index, by_unit=True)
        rows = masking.unit_rows(mask, tensor.unit_axes)
        scores = np.asarray(np.sum(fitness, axis=1, where=rows, dtype=np.float64))
        fitter = scores > best
        best[fitter] = scores[fitter]
        best_rows[fitter] = rows[fitter]
    return masking.from_unit_rows(best_rows, tensor.fitness.shape, tensor.unit_axes)
