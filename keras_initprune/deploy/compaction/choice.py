"""Which rule holds for a call: the one place that knows layers by their class."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_initprune.constraints.weights import (
    CONVOLUTIONS,
    DEPTHWISE,
    SEPARABLE,
    TRANSPOSED,
)
from keras_initprune.deploy.compaction import kernels, rules
from keras_initprune.deploy.compaction.rules import Elementwise, Rule
from keras_initprune.graphs.graph import Call, Graph, is_graph

layers = keras.layers

# Only these very classes: a subclass may compute something else.
_WITH_KERNELS = {layers.Dense, *CONVOLUTIONS, *TRANSPOSED, *SEPARABLE, *DEPTHWISE}
IDENTITIES = (
    layers.Identity,
    layers.Dropout,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)
"""Layers that do nothing but in training."""
_UNCHANGING = (
    *IDENTITIES,
    layers.RepeatVector,
    *(
        getattr(layers, f"{kind}{rank}D")
        for rank in (1, 2, 3)
        for kind in (
            "MaxPooling",
            "AveragePooling",
            "GlobalMaxPooling",
            "GlobalAveragePooling",
            "Cropping",
            "UpSampling",
        )
    ),
)
_FUNCTIONS = (layers.ReLU, layers.LeakyReLU, layers.ELU)
_PADDING = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
_RULES: dict[type, Callable[[Any], Rule]] = {
    layers.BatchNormalization: rules.BatchNormalization,
    layers.Embedding: rules.Embedding,
    layers.Flatten: lambda layer: rules.Reshaping(),
    layers.PReLU: rules.PReLU,
    layers.Reshape: lambda layer: rules.Reshaping(layer.target_shape),
    **dict.fromkeys(_FUNCTIONS, lambda layer: Elementwise(function=layer.call)),
    **dict.fromkeys(_PADDING, lambda layer: rules.ZeroPadding()),
    **dict.fromkeys(_UNCHANGING, lambda layer: Elementwise()),
}
_MERGES: dict[type, rules.Merge] = {
    layers.Add: lambda constants: np.sum(constants, axis=0),
    layers.Subtract: lambda constants: constants[0] - constants[1],
    layers.Average: lambda constants: np.mean(constants, axis=0),
    layers.Maximum: lambda constants: np.max(constants, axis=0),
    layers.Minimum: lambda constants: np.min(constants, axis=0),
    layers.Multiply: rules.product,
}


def rule_for(graph: Graph, call: Call) -> Rule:
    """Return the rule of a call; what is not known to be safe stays as it is."""
    layer = call.operation
    reason = _reason(graph, call)
    if reason is not None:
        return Rule(why=reason)
    kind = type(layer)
    if kind in _WITH_KERNELS:
        return _kernel_rule(layer)
    if kind in _MERGES or kind in _merging_operations():
        return _merge_rule(graph, call)
    if kind is layers.Concatenate:
        rank = len(graph.shapes[call.outputs[0]])
        if layer.axis in (-1, rank - 1):
            return rules.Concatenation()
        return rules.Merging(rules.same)
    if kind in _RULES:
        return _RULES[kind](layer)
    is_activation = kind is layers.Activation and rules.is_elementwise(layer.activation)
    if is_activation or kind in _elementwise_operations():
        return Elementwise(function=layer.call)
    return Rule(why=f"{kind.__name__} is not compacted")


def _reason(graph: Graph, call: Call) -> str | None:
    """Return why a call has to stay as it is whatever its class, or None."""
    layer = call.operation
    if is_graph(layer):
        return "inputs and outputs of a nested model stay"
    if call.is_shared and getattr(layer, "weights", None):
        return "called more than once"
    if not call.is_plain:
        return "called with further arguments"
    if getattr(layer, "data_format", None) == "channels_first":
        return "channels first"
    if type(layer) in _WITH_KERNELS and getattr(layer, "groups", 1) != 1:
        return "grouped convolution"
    if getattr(layer, "quantization_mode", None) or getattr(
        layer, "lora_enabled", False
    ):
        return "quantised or with LoRA"
    return _shape_reason(graph, call)


def _shape_reason(graph: Graph, call: Call) -> str | None:
    layer = call.operation
    tensors = [*call.inputs, *call.outputs]
    if type(layer) is layers.Embedding:
        tensors = [*call.outputs]
    if not all(graph.units(tensor) for tensor in tensors):
        return "open number of units"
    if len(call.outputs) != 1:
        return "several outputs"
    rank = len(graph.shapes[call.inputs[0]])
    if type(layer) is layers.BatchNormalization and layer.axis not in (-1, rank - 1):
        return "normalises another axis"
    if type(layer) is layers.Reshape and call.is_shared:
        return "called more than once"
    if call.reads_masked and "Pooling" in type(layer).__name__:
        return "pools masked steps"
    if getattr(layer, "interpolation", "nearest") not in ("nearest", "bilinear"):
        return "interpolates"
    return None


def _kernel_rule(layer: Any) -> Rule:
    kind = type(layer)
    if kind is layers.Dense:
        return kernels.Kernel(layer)
    is_pointwise = all(size == 1 for size in layer.kernel_size)
    if kind in TRANSPOSED:
        # Between strides some positions see nothing at all.
        steps = all(stride == 1 for stride in layer.strides)
        return kernels.Transposed(layer, not (is_pointwise and steps))
    is_padded = layer.padding != "valid" and not is_pointwise
    if kind in SEPARABLE:
        return kernels.Separable(layer, is_padded)
    if kind in DEPTHWISE:
        return kernels.Depthwise(layer, is_padded)
    return kernels.Kernel(layer, is_padded)


def _merge_rule(graph: Graph, call: Call) -> Rule:
    shapes = [graph.shapes[tensor] for tensor in (*call.inputs, *call.outputs)]
    if len({(len(shape), shape[-1]) for shape in shapes}) > 1:
        return Rule(why="repeats units of one input")
    kind = type(call.operation)
    merge = _MERGES.get(kind) or _merging_operations()[kind]
    return rules.Merging(merge)


@functools.cache
def _merging_operations() -> dict[type, rules.Merge]:
    """Return the operations behind `+`, `-` and `*` of symbolic tensors."""
    ops, tensor = keras.ops, keras.KerasTensor((None, 1))
    return {
        _operation(ops.add(tensor, tensor)): _MERGES[layers.Add],
        _operation(ops.subtract(tensor, tensor)): _MERGES[layers.Subtract],
        _operation(ops.multiply(tensor, tensor)): _MERGES[layers.Multiply],
    }


@functools.cache
def _elementwise_operations() -> set[type]:
    """Return operations that are activations, called on a symbolic tensor."""
    ops, tensor = keras.ops, keras.KerasTensor((None, 1))
    functions: list[Callable[[Any], Any]] = [
        ops.relu,
        ops.relu6,
        ops.sigmoid,
        ops.tanh,
        ops.silu,
        ops.elu,
        ops.gelu,
        ops.softplus,
        ops.leaky_relu,
    ]
    return {_operation(function(tensor)) for function in functions}


def _operation(tensor: Any) -> type:
    return type(tensor._keras_history.operation)
