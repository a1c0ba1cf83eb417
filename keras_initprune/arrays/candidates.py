"""What the candidates of K-starts are worth, beside what is selected among them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initprune.arrays.distributions import Distribution
from keras_initprune.arrays.masks import Mask
from keras_initprune.arrays.ranking import rank_masks
from keras_initprune.arrays.selection import (
    SelectionName,
    as_tensors,
    fitness_of,
    fitness_of_candidates,
    k_starts_masks,
)


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
    by_unit = selection == "unit"
    candidates = [
        fitness_of_candidates(tensor, k, seed, by_unit)
        for tensor in as_tensors(
            fitness, sparsity, distribution, unit_axes=unit_axes
        ).values()
    ]
    return {
        "label": selection.capitalize(),
        "candidates": np.sum(candidates, axis=0).tolist(),
        "selected": _total(fitness, selected),
        "top": _total(fitness, rank_masks(fitness, sparsity, distribution)),
    }


def _total(fitness: Mapping[str, NDArray], masks: Mapping[str, Mask]) -> float:
    return sum(fitness_of(fitness[path], mask) for path, mask in masks.items())
