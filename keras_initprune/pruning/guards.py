"""The guard against networks and layers that nothing passes any more."""

import warnings
from collections.abc import Collection
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints, criteria
from keras_initprune.arrays.distributions import check_no_empty_mask
from keras_initprune.arrays.masks import Mask
from keras_initprune.paths import Observation
from keras_initprune.paths.observation import observe_or_warn

Masks = dict[str, Mask]


def check_paths(
    model: keras.Model, masks: Masks, criterion: criteria.Criterion, inputs: Any
) -> None:
    """Raise if nothing would pass the network, and warn of layers that collapse.

    Raises:
        ValueError: Names the tensors with the fewest weights.
    """
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
