"""Checks of the arguments of `prune`, and of what its masks leave of a network."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints, criteria, validation
from keras_initprune.arrays import patterns
from keras_initprune.arrays.distributions import (
    Distribution,
    check_distribution,
    check_no_empty_mask,
)
from keras_initprune.arrays.masks import Masks
from keras_initprune.constraints.layers import Layers, LayerSelector
from keras_initprune.constraints.weights import PrunableWeight
from keras_initprune.paths import Observation
from keras_initprune.paths.observation import observe_or_warn


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


def check_paths(
    model: keras.Model, masks: Masks, criterion: criteria.Criterion, inputs: Any
) -> None:
    """Raise if nothing would pass the network, and warn of layers that collapse."""
    check_no_empty_mask(masks)
    installed = {**constraints.get_masks(model), **masks}
    found = observe_or_warn(model, installed, inputs, stacklevel=4)
    if found is None:
        return
    name = type(criterion).__name__
    if not found.has_live_path:
        narrowest = sorted(masks, key=lambda path: int(np.count_nonzero(masks[path])))
        raise ValueError(
            f"{name} would leave no path from the inputs of {model.name!r} to its "
            f"outputs: {_listed(narrowest[:3], masks, found)}. Choose a lower "
            "sparsity, another distribution, or leave narrow layers out with `layers`."
        )
    # The ranking leaves every tensor its best weight, which alone is not yet a layer.
    collapsed = [
        path
        for path, mask in masks.items()
        if np.count_nonzero(mask) == 1 < mask.size or not found.effective[path].any()
    ]
    if collapsed:
        warnings.warn(
            f"{name} collapses {len(collapsed)} of {len(masks)} tensors: "
            f"{_listed(collapsed[:5], masks, found)}. Choose a lower sparsity, more "
            "`iterations`, or a `distribution` that gives every tensor its share.",
            stacklevel=4,
        )


def _listed(paths: Collection[str], masks: Masks, found: Observation) -> str:
    return ", ".join(
        f"{path!r} keeps {np.count_nonzero(masks[path])} of {masks[path].size} weights "
        f"({np.count_nonzero(found.effective[path])} on a path)"
        for path in paths
    )
