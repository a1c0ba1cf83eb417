"""One pass of signals through a model, forth and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend
from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints.weights import PrunableWeight, maskable_weights
from keras_initprune.paths.inputs import example_call
from keras_initprune.paths.signals import Signals
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
    """Pass signals through a model, forth and back.

    Args:
        model: A built Keras model.
        masks: See `effective_masks`.
        inputs: See `effective_masks`.
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
