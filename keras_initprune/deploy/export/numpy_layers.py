"""How `numpy_runtime` is told of each kind of layer."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_initprune.deploy.compaction.rules.kernels import numbers
from keras_initprune.deploy.numpy_runtime import ACTIVATIONS
from keras_initprune.graphs.graph import Call, Graph

# An operation of the runtime with its settings, and its weights under "weights".
Step = dict[str, Any]
Description = Callable[[Graph, Call], Step | None]


def _activation_name(activation: Any) -> str | None:
    for name in ACTIVATIONS:
        if activation is keras.activations.get(name):
            return name
    return None


def _with_bias(layer: Any, kernel: np.ndarray) -> dict[str, np.ndarray]:
    bias = {"bias": numbers(layer.bias)} if layer.use_bias else {}
    return {"kernel": np.ascontiguousarray(kernel), **bias}


def _kernel(layer: Any, step: Step) -> Step | None:
    """Return the step of a layer with a kernel, whose rows are its outputs."""
    activation = _activation_name(layer.activation)
    if activation is None or getattr(layer, "quantization_mode", None):
        return None
    kernel = numbers(layer.kernel)
    weights = _with_bias(layer, kernel.reshape(-1, kernel.shape[-1]).T)
    return {**step, "activation": activation, "weights": weights}


def _convolution(graph: Graph, call: Call) -> Step | None:
    layer = call.operation
    if layer.groups != 1:
        return None
    step = {
        "op": "convolution",
        "size": list(layer.kernel_size),
        "strides": list(layer.strides),
        "dilation": list(layer.dilation_rate),
        "padding": layer.padding,
    }
    return _kernel(layer, step)


def _activation(graph: Graph, call: Call) -> Step | None:
    name = _activation_name(call.operation.activation)
    return None if name is None else {"op": "activation", "activation": name}


def _named_activation(name: str) -> Description:
    return lambda graph, call: {"op": "activation", "activation": name}


def _relu(graph: Graph, call: Call) -> Step | None:
    layer = call.operation
    return {
        "op": "relu",
        "maximum": getattr(layer, "max_value", None),
        "negative_slope": float(layer.negative_slope),
        "threshold": float(getattr(layer, "threshold", 0.0)),
    }


def _softmax(graph: Graph, call: Call) -> Step | None:
    axis = call.operation.axis
    return {"op": "softmax", "axis": axis} if isinstance(axis, int) else None


def _batch_normalization(graph: Graph, call: Call) -> Step | None:
    layer = call.operation
    if layer.axis not in (-1, len(graph.shapes[call.inputs[0]]) - 1):
        return None
    variance = numbers(layer.moving_variance).astype(np.float64)
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * numbers(layer.gamma)
    shift = -numbers(layer.moving_mean) * scale
    if layer.center:
        shift = shift + numbers(layer.beta)
    return _affine(scale, shift)


def _affine(scale: Any, shift: Any) -> Step:
    weights = {"scale": np.float32(scale), "shift": np.float32(shift)}
    return {
        "op": "affine",
        "weights": {name: np.asarray(value) for name, value in weights.items()},
    }


def _pooling(kind: str) -> Description:
    def describe(graph: Graph, call: Call) -> Step | None:
        layer = call.operation
        return {
            "op": "pooling",
            "kind": kind,
            "size": list(layer.pool_size),
            "strides": list(layer.strides),
            "padding": layer.padding,
        }

    return describe


def _global_pooling(kind: str) -> Description:
    return lambda graph, call: {
        "op": "global_pooling",
        "kind": kind,
        "keepdims": bool(call.operation.keepdims),
    }


def _padding(graph: Graph, call: Call) -> Step | None:
    padding = call.operation.padding
    widths = [padding] if isinstance(padding[0], int) else list(padding)
    return {"op": "padding", "widths": [(0, 0), *widths, (0, 0)]}


def _merge(name: str) -> Description:
    return lambda graph, call: {"op": name}


def _take(graph: Graph, call: Call) -> Step | None:
    positions = np.asarray(call.arguments[1]).astype(np.uint32)
    return {
        "op": "take",
        "axis": call.operation.axis,
        "weights": {"positions": positions},
    }


def _transpose(graph: Graph, call: Call) -> Step | None:
    axes = call.operation.axes
    return {"op": "transpose", "axes": None if axes is None else list(axes)}


# By the name of the class, which a layer shares with the operator that does the same.
DESCRIPTIONS: dict[str, Description] = {
    "Activation": _activation,
    "Add": _merge("add"),
    "Average": _merge("average"),
    "AveragePooling1D": _pooling("average"),
    "AveragePooling2D": _pooling("average"),
    "BatchNormalization": _batch_normalization,
    "Concatenate": lambda graph, call: {
        "op": "concatenate",
        "axis": int(call.operation.axis),
    },
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "Dense": lambda graph, call: _kernel(call.operation, {"op": "dense"}),
    "ELU": lambda graph, call: {"op": "elu", "alpha": float(call.operation.alpha)},
    "Flatten": lambda graph, call: {"op": "reshape", "shape": [-1]},
    "GlobalAveragePooling1D": _global_pooling("average"),
    "GlobalAveragePooling2D": _global_pooling("average"),
    "GlobalMaxPooling1D": _global_pooling("max"),
    "GlobalMaxPooling2D": _global_pooling("max"),
    "LeakyReLU": _relu,
    "MaxPooling1D": _pooling("max"),
    "MaxPooling2D": _pooling("max"),
    "Maximum": _merge("maximum"),
    "Minimum": _merge("minimum"),
    "Multiply": _merge("multiply"),
    "PReLU": lambda graph, call: {
        "op": "prelu",
        "weights": {"slopes": numbers(call.operation.alpha)},
    },
    "ReLU": _relu,
    "Relu": _named_activation("relu"),
    "Rescaling": lambda graph, call: _affine(
        call.operation.scale, call.operation.offset
    ),
    "Reshape": lambda graph, call: {
        "op": "reshape",
        "shape": list(call.operation.target_shape),
    },
    "Sigmoid": _named_activation("sigmoid"),
    "Softmax": _softmax,
    "Subtract": _merge("subtract"),
    "Take": _take,
    "Tanh": _named_activation("tanh"),
    "Transpose": _transpose,
    "ZeroPadding1D": _padding,
    "ZeroPadding2D": _padding,
}
WITH_ARGUMENTS = {"Take"}
