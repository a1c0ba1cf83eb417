"""One pass of signals through a model, forth and back.

On it stand guards against networks and layers that nothing passes any more.
"""

import bisect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend, constraints
from keras_initprune.arrays.distributions import check_no_empty_mask
from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints.weights import PrunableWeight, maskable_weights
from keras_initprune.paths.inputs import Signals, UnknownInputsError, example_call
from keras_initprune.paths.substitutes import neutralised


@dataclass(frozen=True)
class Observation:
    """What one pass of signals found.

    Attributes:
        kept: From tensor path to the weights that are kept.
        effective: From tensor path to the kept weights that lie on a path.
        uses: From tensor path to how often one example uses each weight.
        has_live_path: Whether any output depends on any input.
        has_open_shape: Whether the inputs were made up for a shape that is open.
    """

    kept: dict[str, Mask]
    effective: dict[str, Mask]
    uses: dict[str, int]
    has_live_path: bool
    has_open_shape: bool


def observe(
    model: keras.Model, masks: Mapping[str, Mask] | None = None, inputs: Any = None
) -> Observation:
    """Find which kept weights lie on a path from the inputs to the outputs.

    A weight is dead when it reads a unit that does not depend on the inputs, or feeds
    one that no output depends on; what it does can be folded into a bias, or is nothing
    at all. So a unit that has lost all its inputs is dead although its bias makes it a
    constant, and so is every weight that reads it.

    One pass on made-up inputs finds them, with gradients, at the kept weights' pattern:
    values do not matter, not those of biases either. It is exact for networks of Keras'
    dense, convolutional, recurrent, embedding, merging, pooling, padding, reshaping and
    activation layers, however deep. Elsewhere a dead weight may count as effective:

    - Normalisation is taken unit by unit: statistics that mix units are not a path.
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

    Returns:
        What the pass has found, for all weights that could carry a mask.

    Raises:
        ValueError: If the model is not built, `masks` do not fit it, or it needs
            `inputs`.

    Example:
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
        >>> observe(model, masks).effective["hidden/kernel"].tolist()
        [[True, False], [True, False]]

    References:
        - Tanaka et al. 2020, "Pruning neural networks without any data by iteratively
          conserving synaptic flow" (arXiv 2006.05467), for the pass on ones
        - Vysogorets and Kempe 2023, "Connectivity matters: neural network pruning
          through the lens of effective sparsity" (arXiv 2107.02306)
    """
    weights = maskable_weights(model)
    kept = _kept(weights, masks or {})
    call = example_call(model, inputs)
    # Integers of a quantised layer have no gradient; they are left as they are.
    kernels = {
        path: _normalised(weights[path], mask)
        for path, mask in kept.items()
        if "float" in weights[path].variable.dtype
    }
    uses = dict.fromkeys(weights, 0)

    def total(kernels: dict[str, Any]) -> tuple[Any, list[Any]]:
        with keras.StatelessScope(_state(model, weights, kernels)):
            outputs = keras.tree.flatten(call.run(model))
        ends = [Signals(-1).clean(o) for o in outputs if backend.is_float(o)]
        sums = [ops.sum(ops.cast(end, "float32")) for end in ends]
        return sum(sums, ops.zeros(())), [ops.any(end != 0) for end in ends]

    with neutralised(model, weights, uses):
        _, live_ends, gradients = backend.value_and_gradients(total, kernels)
    return Observation(
        kept=kept,
        effective={
            path: mask & (ops.convert_to_numpy(gradients[path]) != 0)
            if path in gradients
            else mask
            for path, mask in kept.items()
        },
        uses={path: count // call.examples for path, count in uses.items()},
        has_live_path=any(map(bool, live_ends)),
        has_open_shape=call.has_open_shape,
    )


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


def nonzero_mask(weight: PrunableWeight) -> Mask:
    """Return where a weight is not exactly zero, whatever its type."""
    return ops.convert_to_numpy(weight.variable) != 0


def _kept(
    weights: Mapping[str, PrunableWeight], masks: Mapping[str, Mask]
) -> dict[str, Mask]:
    unknown = sorted(set(masks) - set(weights))
    if unknown:
        raise ValueError(
            f"`masks` must name prunable weights, which are {list(weights)}. "
            f"Received: {unknown}"
        )
    kept = {}
    for path, weight in weights.items():
        values = masks.get(path)
        if values is None:
            kept[path] = nonzero_mask(weight)
            continue
        kept[path] = np.asarray(values, bool)
        if kept[path].shape != weight.shape:
            raise ValueError(
                f"The mask of {path!r} must have the shape {weight.shape}. "
                f"Received: a mask of shape {kept[path].shape}"
            )
    return kept


def _normalised(weight: PrunableWeight, mask: Mask) -> Any:
    """Return weights that average what a unit reads, so that sums stay in range."""
    units = [axis % mask.ndim for axis in weight.unit_axes]
    rest = tuple(axis for axis in range(mask.ndim) if axis not in units)
    fan_in = np.maximum(mask.sum(axis=rest, keepdims=True), 1)
    return ops.cast((mask / fan_in).astype(np.float32), weight.variable.dtype)


def _state(
    model: keras.Model,
    weights: Mapping[str, PrunableWeight],
    kernels: Mapping[str, Any],
) -> list[tuple[keras.Variable, Any]]:
    """Return the values that the variables have during the pass."""
    state = {id(weights[path].variable): kernel for path, kernel in kernels.items()}
    for weight in weights.values():
        bias = getattr(weight.layer, "bias", None)
        if isinstance(bias, keras.Variable):
            state[id(bias)] = ops.zeros(bias.shape, bias.dtype)
    pairs = []
    # Quantised weights are variables for the moment, and not yet among the model's.
    own = [weight.variable for weight in weights.values()]
    for variable in {id(each): each for each in (*model.weights, *own)}.values():
        value = state.get(id(variable))
        if value is None and "float" in variable.dtype:
            value = _positive(variable)
        if value is not None:
            pairs.append((variable, value))
    return pairs


def _positive(variable: keras.Variable) -> Any:
    """Return values of a weight of another kind that neither cancel nor grow."""
    if not variable.trainable:
        return ops.abs(ops.convert_to_tensor(variable))
    fan_in = max(int(np.prod(variable.shape[:-1])), 1)
    return ops.full(variable.shape, 1 / fan_in, variable.dtype)


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
