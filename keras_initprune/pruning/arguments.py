"""Checks of the arguments of `prune` that depend on each other."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from keras_initprune import criteria, validation
from keras_initprune.arrays import patterns
from keras_initprune.arrays.distributions import Distribution, check_distribution
from keras_initprune.constraints.layers import Layers, LayerSelector
from keras_initprune.constraints.weights import PrunableWeight


def check_pattern_sparsity(sparsity: Any, pattern: patterns.Pattern) -> float:
    """Return the sparsity, which some patterns fix."""
    fixed = pattern.sparsity
    if fixed is None:
        return validation.check_sparsity(sparsity)
    if sparsity is not None and not np.isclose(
        validation.check_sparsity(sparsity), fixed
    ):
        raise ValueError(
            f"`pattern` fixes the sparsity of every tensor at {fixed:g}: leave "
            f"`sparsity` out. Received: sparsity={sparsity}, pattern={pattern}"
        )
    return fixed


def check_pattern_distribution(
    distribution: Any,
    pattern: patterns.Pattern,
    criterion: criteria.Criterion,
    paths: Collection[str],
) -> Distribution:
    """Return the distribution, or the criterion's default."""
    if pattern.sparsity is not None:
        if distribution not in (None, "uniform"):
            raise ValueError(
                "`pattern` gives every tensor the same sparsity, which is the "
                f"`distribution` 'uniform'. Received: distribution={distribution!r}, "
                f"pattern={pattern}"
            )
        # Not "uniform", which makes up for tensors that stay dense.
        return dict.fromkeys(paths, pattern.sparsity)
    default = criterion.distribution if distribution is None else distribution
    return check_distribution(default, ranked=criterion.ranks)


def dense_paths(
    layers: LayerSelector, weights: Mapping[str, PrunableWeight]
) -> Collection[str]:
    """Return the paths of the first and the last layer, where these stay dense."""
    found = list(weights.values())
    ends = {"first": found[0], "last": found[-1]}
    owners = [ends[end].layer for end in Layers.of(layers).dense or ()]
    return [path for path, w in weights.items() if any(w.layer is o for o in owners)]


def check_iterations(
    iterations: Any, criterion: criteria.Criterion, weights: int
) -> int:
    """Return the number of iterations, or the criterion's default."""
    if iterations is None:
        return criterion.iterations
    validation.check_positive_integer(iterations, "iterations")
    if iterations > weights:
        raise ValueError(
            f"`iterations` must not exceed the number of weights, which is {weights}: "
            "more would remove less than one each. "
            f"Received: iterations={iterations}"
        )
    if iterations > 1 and not criterion.looks_at_masks:
        raise ValueError(
            f"{type(criterion).__name__} scores weights alike in every iteration, so "
            f"one is enough. Received: iterations={iterations}"
        )
    return iterations
