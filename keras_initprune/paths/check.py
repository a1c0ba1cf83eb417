"""Effective sparsity: which kept weights lie on a path from inputs to outputs."""

import bisect
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints.layers import LayerSelector
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.paths import UnknownInputsError, observe


def effective_masks(
    model: keras.Model,
    masks: Mapping[str, Mask] | None = None,
    inputs: Any = None,
    layers: LayerSelector = None,
) -> dict[str, Mask]:
    """Return which kept weights lie on a path from the inputs to the outputs.

    A weight is dead when it reads a unit that does not depend on the inputs, or feeds
    one that no output depends on; what it does can be folded into a bias, or is nothing
    at all. So a unit that has lost all its inputs is dead although its bias makes it a
    constant, and so is every weight that reads it.

    One pass on made-up inputs finds them, with gradients, at the kept weights' pattern:
    values do not matter, not those of biases either. It is exact for networks of Keras'
    dense, convolutional, recurrent, embedding, merging, pooling, padding, reshaping and
    activation layers, however deep. Elsewhere a dead weight may count as effective:

    - Normalisation is taken unit by unit: that its statistics mix units is no path.
    - In attention queries and keys count as far as their head's values do.
    - A gated recurrent unit depends on all that one of its gates depends on.
    - Layers of your own run as they are, with their other trainable weights taken as
      all there. A live unit may be missed only where values that are positive and
      differ from example to example give outputs that do not.

    The model stays as it is, its variables and compiled functions included. But during
    the pass its layers hand on other values than their own, so no other thread may call
    the model meanwhile: it would get wrong outputs, without an error.

    Args:
        model: A built Keras model.
        masks: From tensor path to the mask to judge. Tensors that are not named keep
            what is not zero. Defaults to judging all tensors by their zeros.
        inputs: A small batch of what the model is called with. Only needed if the model
            does not know the shapes of its inputs, or if something other than a layer
            of Keras reads integers; of floats only the shape matters. Defaults to
            inputs made up from the model's input shapes, 64 long where these are open.
        layers: Which weights to return without `masks`, see `Layers`. Defaults to all.

    Returns:
        From tensor path to a boolean array, for the tensors in `masks`, or for all.

    Raises:
        ValueError: If the model is not built, `masks` do not fit it, or it needs
            `inputs`.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((2,)),
        ...         keras.layers.Dense(2, name="hidden"),
        ...         keras.layers.Dense(1, name="output"),
        ...     ]
        ... )
        >>> masks = {
        ...     "hidden/kernel": np.array([[True, True], [True, True]]),
        ...     "output/kernel": np.array([[True], [False]]),
        ... }
        >>> effective_masks(model, masks)["hidden/kernel"].tolist()
        [[True, False], [True, False]]

    References:
        - Tanaka et al. 2020, "Pruning neural networks without any data by iteratively
          conserving synaptic flow" (arXiv 2006.05467), for the pass on ones
        - Vysogorets and Kempe 2023, "Connectivity matters: neural network pruning
          through the lens of effective sparsity" (arXiv 2107.02306)
    """
    observation = observe(model, masks, inputs)
    paths = prunable_weights(model, layers) if masks is None else masks
    return {path: observation.effective[path] for path in paths}


def has_live_path(
    model: keras.Model, masks: Mapping[str, Mask] | None = None, inputs: Any = None
) -> bool:
    """Return whether any output still depends on any input.

    No other thread may call the model meanwhile, see `effective_masks`.

    Args:
        model: A built Keras model.
        masks: See `effective_masks`.
        inputs: See `effective_masks`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> has_live_path(model)
        True
        >>> model.layers[0].kernel.assign([[0.0], [0.0]]).shape
        TensorShape([2, 1])
        >>> has_live_path(model)
        False
    """
    return observe(model, masks, inputs).has_live_path


def check_paths(
    model: keras.Model, masks: Mapping[str, Mask] | None = None, inputs: Any = None
) -> None:
    """Guard against layer collapse: raise, or warn, naming the layer.

    No other thread may call the model meanwhile, see `effective_masks`.

    Args:
        model: A built Keras model.
        masks: See `effective_masks`.
        inputs: See `effective_masks`.

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
    try:
        observation = observe(model, masks, inputs)
    except UnknownInputsError as error:
        warnings.warn(
            f"Whether a path through the network remains is not checked: {error}",
            stacklevel=2,
        )
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


def _last_cut(model: keras.Model, kept: Mapping[str, Mask], inputs: Any) -> str:
    """Return the first tensor, in the model's order, with which no path is left."""
    names = list(kept)

    def is_cut_by(count: int) -> bool:
        masks = {
            path: mask if index < count else np.ones_like(mask)
            for index, (path, mask) in enumerate(kept.items())
        }
        return not has_live_path(model, masks, inputs)

    # More masks never bring a path back, so the first that cuts is found by halving.
    return names[bisect.bisect_left(range(1, len(names)), True, key=is_cut_by)]
