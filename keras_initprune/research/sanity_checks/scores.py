"""Inverted and random scores."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keras_initprune.arrays.masks import (
    Mask,
    candidate_key,
    candidate_scores,
    top_k_mask,
)


def inverted_masks(
    masks: Mapping[str, Mask], scores: Mapping[str, NDArray]
) -> dict[str, Mask]:
    """Return masks that keep as many weights per tensor, those with the worst scores.

    If they train as well as `masks`, the scores say nothing about single weights.

    Args:
        masks: From tensor path to a boolean array, 1 = keep.
        scores: From tensor path to the scores by which `masks` were chosen, higher =
            keep.

    Returns:
        From tensor path to a new boolean array.

    Raises:
        ValueError: If a tensor has no scores, or scores of another shape.

    References:
        - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
          missing the mark?" (arXiv 2009.08576), section 5

    Example:
        >>> masks = {"kernel": np.array([False, True, True])}
        >>> inverted_masks(masks, {"kernel": np.array([1.0, 2.0, 3.0])})["kernel"]
        array([ True,  True, False])
    """
    for path, mask in masks.items():
        found = np.shape(scores[path]) if path in scores else None
        if found != mask.shape:
            raise ValueError(
                f"`scores` must have an array of shape {mask.shape} for {path!r}. "
                f"Received: {'none' if found is None else f'shape {found}'}"
            )
    return {
        path: top_k_mask(-np.asarray(scores[path]), int(np.count_nonzero(mask)))
        for path, mask in masks.items()
    }


def random_fitness(masks: Mapping[str, Mask], seed: int = 0) -> dict[str, NDArray]:
    """Return a fitness that knows nothing: uniform random numbers for every weight.

    With it `k_starts_masks` reaches what drawing k masks gains by itself. Ranking all
    weights by it is random pruning.

    Args:
        masks: From tensor path to an array, of which only the shape matters.
        seed: Seed. With the place of a tensor in `masks`, not its name, it decides the
            numbers. Defaults to 0.

    Returns:
        From tensor path to an array in [0, 1).

    References:
        - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
          jackpot" (arXiv 2009.11094), for what it controls: that choosing among masks
          does more than drawing one

    Example:
        >>> from keras_initprune.arrays.selection import k_starts_masks
        >>> fitness = random_fitness({"kernel": np.ones((20, 10), bool)}, seed=1)
        >>> int(k_starts_masks(fitness, k=8, sparsity=0.9)["kernel"].sum())
        20
    """
    return {
        path: candidate_scores(
            np.shape(mask), candidate_key(seed, f"{index}/fitness", 0)
        )
        for index, (path, mask) in enumerate(masks.items())
    }
