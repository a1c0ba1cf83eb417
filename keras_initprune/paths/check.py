"""Guards against networks and layers that nothing passes any more."""

import bisect
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.arrays.distributions import check_no_empty_mask
from keras_initprune.arrays.masks import Mask
from keras_initprune.paths import Observation, UnknownInputsError, observe


def check_paths(
    model: keras.Model, masks: Mapping[str, Mask] | None = None, inputs: Any = None
) -> None:
    """Guard against layer collapse: raise, or warn, naming the layer.

    No other thread may call the model meanwhile, see `observe`.

    Raises:
        ValueError: If no path from the inputs to the outputs remains. It names the
            tensor at which the last path ends.

    Warns:
        UserWarning: If a path remains, but not one of a tensor's kept weights lies on
            any, as in a residual branch that is cut. It names the tensor. Also if the
            model needs `inputs` to tell, and none are given.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, name="output")]
        ... )
        >>> check_paths(model, {"output/kernel": np.array([[True], [False]])})
    """
    masks = dict(masks or {})
    observation = observe_or_warn(model, masks, inputs, stacklevel=2)
    if observation is None:
        return
    if not observation.has_live_path:
        raise ValueError(
            f"The masks leave no path from the inputs of {model.name!r} to its "
            f"outputs: the last one ends at "
            f"{_last_cut(model, observation.kept, inputs)!r}. Choose a lower sparsity, "
            "another distribution, or leave narrow layers out with `layers`."
        )
    dead = [
        path
        for path in masks or observation.kept
        if observation.kept[path].any() and not observation.effective[path].any()
    ]
    if dead:
        warnings.warn(
            f"None of the kept weights of {', '.join(map(repr, dead))} lies on a path "
            f"from the inputs of {model.name!r} to its outputs: the effective density "
            "is 0 there, and the layers have collapsed.",
            stacklevel=2,
        )


def check_masks(model: keras.Model, masks: Mapping[str, Mask]) -> None:
    """Raise, or warn, as `check_paths` does, with masks that a model is yet to get.

    Raises:
        ValueError: If a tensor or every path through the network would vanish.
    """
    check_no_empty_mask(masks)
    check_paths(model, {**constraints.get_masks(model), **masks})


def observe_or_warn(
    model: keras.Model, masks: Mapping[str, Mask], inputs: Any, stacklevel: int
) -> Observation | None:
    """Return what `observe` does, or warn if the model needs `inputs` and has none."""
    try:
        return observe(model, masks, inputs)
    except UnknownInputsError as error:
        warnings.warn(
            f"Whether a path through the network remains is not checked: {error}",
            stacklevel=stacklevel + 1,
        )
        return None


def _last_cut(model: keras.Model, kept: Mapping[str, Mask], inputs: Any) -> str:
    """Return the first tensor, in the model's order, with which no path is left."""
    names = list(kept)

    def is_cut_by(count: int) -> bool:
        masks = {
            path: mask if index < count else np.ones_like(mask)
            for index, (path, mask) in enumerate(kept.items())
        }
        return not observe(model, masks, inputs).has_live_path

    # More masks never bring a path back, so the first that cuts is found by halving.
    return names[bisect.bisect_left(range(1, len(names)), True, key=is_cut_by)]
