"""Replaces, for one pass, the parts of a model that would blur its signals.

Around each layer that owns prunable weights values are replaced by signals. Activations
and normalisation are taken out, and maxima become averages. Quantised layers, and those
with LoRA, are seen as the float layers they stand for.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_initprune import backend
from keras_initprune.backend.keras_internals import ConvLSTMCell
from keras_initprune.constraints.weights import (
    CELLS,
    CONVOLUTIONS,
    DEPTHWISE,
    SEPARABLE,
    TRANSPOSED,
    PrunableWeight,
    check_built,
)
from keras_initprune.paths.inputs import Signals

Uses = dict[str, int]
Count = Callable[[Any, Any], None]

_IDENTITIES: tuple[type, ...] = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
    keras.layers.Rescaling,
    keras.layers.Normalization,
)
SOURCES: tuple[type, ...] = (
    keras.layers.CategoryEncoding,
    keras.layers.Discretization,
    keras.layers.HashedCrossing,
    keras.layers.Hashing,
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
)
EXTREMA: tuple[type, ...] = (
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Subtract,
)
_AVERAGES: dict[type, Any] = {
    getattr(keras.layers, f"{kind}MaxPooling{rank}D"): getattr(
        keras.layers, f"{kind}AveragePooling{rank}D"
    )
    for kind in ("", "Global", "Adaptive")
    for rank in (1, 2, 3)
    if hasattr(keras.layers, f"{kind}MaxPooling{rank}D")
}
_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
_READABLE = (None, "int8", "int4", "float8")
_CONVOLUTIONS = (*CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE, ConvLSTMCell)


@contextlib.contextmanager
def neutralised(
    model: keras.Model, weights: dict[str, PrunableWeight], uses: Uses
) -> Iterator[None]:
    """Let a model's layers pass signals, and put everything back at the end.

    Only attributes of the layer instances change, and they change behind the back of
    Keras' and TensorFlow's tracking. Functions that users decorated with `tf.function`
    run eagerly meanwhile: what they would trace now they would still use afterwards.

    Args:
        model: A built model.
        weights: The weights through which signals pass, by tensor path.
        uses: From tensor path to a count, which grows by the number of times that a
            weight is used for all examples together.
    """
    signals = Signals()
    layers = {
        id(layer): layer for layer in model._flatten_layers(include_self=False)
    }.values()
    owned: dict[int, dict[str, PrunableWeight]] = {}
    for path, weight in weights.items():
        owned.setdefault(id(weight.layer), {})[path] = weight
    with contextlib.ExitStack() as stack:
        stack.enter_context(backend.functions_run_eagerly(True))
        for layer in layers:
            count = functools.partial(_count, uses, owned.get(id(layer), {}))
            substitutes = _substitutes(layer, id(layer) in owned, signals, count)
            for name, value in substitutes.items():
                stack.enter_context(replaced(layer, name, value))
        yield


def _substitutes(
    layer: keras.Layer, weighted: bool, signals: Signals, count: Count
) -> dict[str, Any]:
    """Return what to put in place of a layer's attributes."""
    original = layer.call
    if isinstance(layer, keras.layers.Embedding):
        return {"call": _embedding(layer, signals, count)}
    if isinstance(layer, CELLS):
        # Sigmoids, unlike the identity, keep apart a gate that is shut and one without
        # inputs; signals are too small to saturate them.
        gates = dict.fromkeys(
            ("activation", "recurrent_activation"), keras.activations.sigmoid
        )
        return {**gates, "call": _cell(original, signals, count)}
    if weighted:
        call = _weighted(layer, signals, count)
        return {"call": call, "activation": keras.activations.linear}
    if isinstance(layer, keras.layers.RNN):
        # Unrolled the cell is called once per step, and cuDNN would not call it at all.
        return {"unroll": True, "stateful": False, "use_cudnn": False}
    if isinstance(layer, _ATTENTION):
        return {"_compute_attention": _attention(layer._compute_attention, signals)}
    return _plain_substitutes(layer, signals)


def _plain_substitutes(layer: keras.Layer, signals: Signals) -> dict[str, Any]:
    if isinstance(layer, _IDENTITIES):
        return {"call": lambda inputs, *args, **kwargs: inputs}
    if isinstance(layer, SOURCES):
        return {"call": _encoding(layer, signals)}
    if isinstance(layer, EXTREMA):
        return {"call": lambda inputs: functools.reduce(ops.add, inputs)}
    average = next(
        (_AVERAGES[each] for each in _AVERAGES if isinstance(layer, each)), None
    )
    if average is None:
        return {}
    pooling = average.from_config(layer.get_config())
    return {"call": lambda inputs, **kwargs: pooling.call(inputs)}


def _weighted(layer: keras.Layer, signals: Signals, count: Count) -> Callable[..., Any]:
    original = layer.call

    def read(values: Any) -> Any:
        values = ops.convert_to_tensor(values)
        if backend.is_float(values):
            return signals.clean(values)
        return signals.data(values, layer.compute_dtype)

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = keras.tree.map_structure(read, inputs)
        # Keras compiles grouped convolutions itself, as CPUs have no other kernels.
        with backend.functions_run_eagerly(getattr(layer, "groups", 1) == 1):
            outputs = original(inputs, *args, **kwargs)
        count(inputs, outputs)
        return keras.tree.map_structure(signals.emit, outputs)

    return call


def _cell(
    original: Callable[..., Any], signals: Signals, count: Count
) -> Callable[..., Any]:
    def call(inputs: Any, states: Any, *args: Any, **kwargs: Any) -> Any:
        states = keras.tree.map_structure(signals.clean, states)
        outputs = original(signals.clean(inputs), states, *args, **kwargs)
        count(inputs, outputs)
        return keras.tree.map_structure(signals.emit, outputs)

    return call


def _embedding(
    layer: keras.layers.Embedding, signals: Signals, count: Count
) -> Callable[..., Any]:
    original = layer.call

    def call(inputs: Any, *args: Any, reverse: bool = False, **kwargs: Any) -> Any:
        if reverse:
            outputs = original(signals.clean(inputs), reverse=True)
            count(inputs, outputs)
            return keras.tree.map_structure(signals.emit, outputs)
        table = ops.cast(layer.embeddings, layer.compute_dtype)
        columns = ops.mean(table, axis=0)
        shape = (*inputs.shape, columns.shape[0])
        # Which rows are looked up depends on the data, so every row counts.
        return signals.source(ops.broadcast_to(columns, shape))

    return call


def _attention(original: Callable[..., Any], signals: Signals) -> Callable[..., Any]:
    def attend(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        _, scores = original(query, key, value, *args, **kwargs)
        value = signals.clean(value)
        middle = tuple(range(1, len(value.shape) - 2))
        # Query and key have a say as far as their head's values have.
        weights = 1 + ops.mean(query, axis=-1, keepdims=True)
        weights += ops.mean(key, axis=(*middle, -1), keepdims=True)
        return weights * ops.mean(value, axis=middle, keepdims=True), scores

    return attend


def _encoding(layer: keras.Layer, signals: Signals) -> Callable[..., Any]:
    original = layer.call

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = original(*args, **kwargs)
        if returns_indices(layer):
            return outputs
        return signals.data(outputs, keras.backend.floatx())

    return call


def returns_indices(layer: keras.Layer) -> bool:
    """Return whether one of `SOURCES` returns indices, for an embedding to look up."""
    modes = (getattr(layer, name, None) for name in ("output_mode", "_output_mode"))
    return "int" in modes


def _count(
    uses: Uses, weights: dict[str, PrunableWeight], inputs: Any, outputs: Any
) -> None:
    inputs, output = keras.tree.flatten(inputs)[0], keras.tree.flatten(outputs)[0]
    for path, weight in weights.items():
        uses[path] = uses.get(path, 0) + _applications(weight, inputs, output)


def _applications(weight: PrunableWeight, inputs: Any, outputs: Any) -> int:
    """Return how often one call of a layer uses each weight of a tensor."""
    layer, shape = weight.layer, weight.shape
    if isinstance(layer, keras.layers.EinsumDense):
        labels, kernel = layer.equation.split("->")[0].split(",")
        shared = [
            size for size, label in zip(shape, kernel, strict=True) if label in labels
        ]
        return math.prod(inputs.shape) // math.prod(shared)
    # Rows are looked up at no cost; it is in reverse that a table multiplies, if tied.
    is_table = weight.attribute == "embeddings"
    if is_table and not getattr(layer, "tie_weights", True):
        return 0
    if isinstance(layer, _CONVOLUTIONS):
        channels = -1 if layer.data_format == "channels_last" else 1
        at = inputs if isinstance(layer, TRANSPOSED) else outputs
        return math.prod(at.shape) // int(at.shape[channels])
    return math.prod(inputs.shape) // int(inputs.shape[-1])


def own_attribute(owner: Any, name: str) -> Any:
    """Return an attribute that an instance itself has, or None."""
    # PyTorch keeps layers within layers in a place of their own.
    layers = vars(owner).get("_modules") or {}
    return vars(owner).get(name, layers.get(name))


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of one instance without its `__setattr__` taking notice."""
    attributes = vars(owner)
    inherited = getattr(type(owner), name, None)
    is_there = name in attributes or own_attribute(owner, name) is not None
    if not is_there and not callable(inherited):
        yield
        return
    missing = object()
    before = attributes.get(name, missing)
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        if before is missing:
            object.__delattr__(owner, name)
        else:
            object.__setattr__(owner, name, before)


@contextlib.contextmanager
def as_floats(model: keras.Model) -> Iterator[int]:
    """Let weights that are computed from others be variables, zero where they are zero.

    Where a weight is not zero its value is that of the quantised weight, without scale.

    Yields:
        By how many numbers these weights are more than what is stored of them.

    Raises:
        ValueError: If a layer is quantised in a way in which zeros are not known.
    """
    more = 0
    with contextlib.ExitStack() as stack:
        for layer in _computed(model):
            name = "_kernel" if hasattr(layer, "_kernel") else "_embeddings"
            stored = getattr(layer, name)
            if layer.quantization_mode != "float8" or layer.lora_enabled:
                weight = keras.Variable(_values(layer, name), name=name[1:])
                more += math.prod(weight.shape) - math.prod(stored.shape)
                stack.enter_context(replaced(layer, name, weight))
            policy = keras.DTypePolicy(layer.compute_dtype)
            stack.enter_context(replaced(layer, "_dtype_policy", policy))
            stack.enter_context(replaced(layer, "lora_enabled", False))
        yield more


def _computed(model: keras.Model) -> list[Any]:
    check_built(model)
    found = []
    for layer in model._flatten_layers(include_self=False):
        if layer.quantization_mode not in _READABLE:
            raise ValueError(
                f"The zeros of {layer.name!r} are not known: it is quantised with "
                f"{layer.quantization_mode!r}. Count before the model is quantised."
            )
        if layer.quantization_mode or getattr(layer, "lora_enabled", False):
            found.append(layer)
    return found


def _values(layer: Any, name: str) -> Any:
    values = ops.cast(getattr(layer, name[1:]), "float32")
    zero = getattr(layer, f"{name[1:]}_zero", None)
    if zero is None:
        return values
    # Blocks of 4-bit weights have a number each that stands for zero.
    blocks = ops.cast(layer.g_idx, "int32")
    if name == "_embeddings":
        return values - ops.cast(ops.take(zero, blocks, axis=1), "float32")
    rows = ops.reshape(values, (blocks.shape[0], -1))
    rows -= ops.cast(ops.take(zero, blocks, axis=0), "float32")
    return ops.reshape(rows, values.shape)
