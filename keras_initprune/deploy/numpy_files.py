"""Writes models for `numpy_runtime`, which needs neither TensorFlow nor Keras."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from keras_initprune.deploy import numpy_runtime
from keras_initprune.deploy.compaction.choice import IDENTITIES
from keras_initprune.deploy.compaction.kernels import numbers
from keras_initprune.deploy.compaction.rules import scale_and_shift
from keras_initprune.graphs.graph import Call, call_counts, is_graph, trace

# An operation of the runtime with its settings, and its weights under "weights".
Step = dict[str, Any]
Description = Callable[[Call], Step | None]


def write(model: keras.Model, path: Path) -> None:
    """Write a model as an `.npz` file.

    Raises:
        ValueError: If a layer is not supported; the error names it.
    """
    if not is_graph(model):
        raise ValueError(
            "The format 'numpy' needs a Sequential or Functional model. "
            f"Received: model={model!r}"
        )
    writer = _Writer()
    architecture = writer.describe(model)
    text = np.array(json.dumps(architecture))
    arrays: dict[str, Any] = {numpy_runtime.ARCHITECTURE: text, **writer.arrays}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


class _Writer:
    """Collects steps and weights."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.arrays: dict[str, NDArray] = {}
        self.tensors = 0
        self._written: dict[int, dict[str, Any]] = {}

    def describe(self, model: keras.Model) -> dict[str, Any]:
        """Return the architecture of a model, and keep its weights."""
        inputs = [self._new() for _ in model.inputs]
        outputs = self._add(model, inputs)
        structure = getattr(model, "_outputs_struct", None)
        names = _keys(getattr(model, "_inputs_struct", None))
        return {
            "version": numpy_runtime.VERSION,
            "inputs": [
                {"name": names[at] if names else tensor.name, "shape": tensor.shape[1:]}
                for at, tensor in enumerate(model.inputs)
            ],
            "steps": self.steps,
            "outputs": outputs,
            "output_keys": _keys(structure),
            "single_output": not isinstance(structure, list | tuple),
        }

    def _new(self) -> int:
        self.tensors += 1
        return self.tensors - 1

    def _add(self, model: keras.Model, inputs: list[int]) -> list[int]:
        """Add the steps of a model and return the numbers of its outputs."""
        graph = trace(model, call_counts(model))
        numbers_of = dict(zip(graph.inputs, inputs, strict=True))
        for call in graph.calls:
            read = [numbers_of[tensor] for tensor in call.inputs]
            if is_graph(call.operation):
                results = self._add(call.operation, read)
            elif isinstance(call.operation, IDENTITIES) and call.is_plain:
                results = read
            else:
                results = [self._step(call, read)]
            numbers_of.update(zip(call.outputs, results, strict=True))
        return [numbers_of[tensor] for tensor in graph.outputs]

    def _step(self, call: Call, read: list[int]) -> int:
        operation = call.operation
        kind = type(operation)
        step = None
        if (
            kind.__name__ in _DESCRIPTIONS
            and kind.__module__.startswith("keras.")
            and (call.is_plain or kind.__name__ in _WITH_ARGUMENTS)
            and getattr(operation, "data_format", None) != "channels_first"
        ):
            step = _DESCRIPTIONS[kind.__name__](call)
        if step is None:
            raise ValueError(
                f"The format 'numpy' does not support the layer {operation.name!r} "
                f"({kind.__name__}) as it is used here. Supported are "
                f"{', '.join(sorted(_DESCRIPTIONS))}, with channels last."
            )
        weights = step.pop("weights", {})
        stored, number = self._store(operation, weights), self._new()
        self.steps.append({**step, "inputs": read, "output": number, **stored})
        return number

    def _store(self, operation: Any, weights: dict[str, NDArray]) -> dict[str, Any]:
        """Keep weights, once for all calls of a layer, and return where they are."""
        if id(operation) not in self._written:
            stored: dict[str, Any] = {"arrays": {}, "sparse": {}}
            self._written[id(operation)] = stored
            for name, values in weights.items():
                self._store_one(stored, f"{len(self._written)}/{name}", name, values)
        return self._written[id(operation)]

    def _store_one(
        self, stored: dict[str, Any], key: str, name: str, values: NDArray
    ) -> None:
        if name == "kernel":
            csr = sparse.csr_array(values)
            parts = {
                "data": csr.data,
                "indices": _smallest(csr.indices),
                "indptr": _smallest(csr.indptr),
            }
            if sum(part.nbytes for part in parts.values()) < values.nbytes:
                stored["sparse"][name] = (key, list(values.shape))
                self.arrays |= {f"{key}.{part}": v for part, v in parts.items()}
                return
        stored["arrays"][name] = key
        self.arrays[key] = values


def _keys(structure: Any) -> list[str] | None:
    """Return the keys of a dictionary of tensors in the order of the flat tensors."""
    if not isinstance(structure, dict):
        return None
    numbered = keras.tree.pack_sequence_as(structure, list(range(len(structure))))
    return sorted(structure, key=numbered.__getitem__)


def _smallest(integers: NDArray) -> NDArray:
    """Return non-negative integers in the smallest type that holds them."""
    return integers.astype(np.min_scalar_type(int(integers.max(initial=0))))


def _activation_name(activation: Any) -> str | None:
    for name in numpy_runtime.ACTIVATIONS:
        if activation is keras.activations.get(name):
            return name
    return None


def _kernel(layer: Any, step: Step) -> Step | None:
    """Return the step of a layer with a kernel, whose rows are its outputs."""
    activation = _activation_name(layer.activation)
    if activation is None or getattr(layer, "quantization_mode", None):
        return None
    kernel = numbers(layer.kernel)
    weights = {"kernel": np.ascontiguousarray(kernel.reshape(-1, kernel.shape[-1]).T)}
    if layer.use_bias:
        weights["bias"] = numbers(layer.bias)
    return {**step, "activation": activation, "weights": weights}


def _convolution(call: Call) -> Step | None:
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


def _activation(call: Call) -> Step | None:
    name = _activation_name(call.operation.activation)
    return None if name is None else {"op": "activation", "activation": name}


def _relu(call: Call) -> Step | None:
    layer = call.operation
    return {
        "op": "relu",
        "maximum": getattr(layer, "max_value", None),
        "negative_slope": float(layer.negative_slope),
        "threshold": float(getattr(layer, "threshold", 0.0)),
    }


def _softmax(call: Call) -> Step | None:
    axis = call.operation.axis
    return {"op": "softmax", "axis": axis} if isinstance(axis, int) else None


def _batch_normalization(call: Call) -> Step | None:
    layer = call.operation
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        return None
    return _affine(*scale_and_shift(layer))


def _affine(scale: Any, shift: Any) -> Step:
    weights = {
        "scale": np.asarray(scale, "float32"),
        "shift": np.asarray(shift, "float32"),
    }
    return {"op": "affine", "weights": weights}


def _pooling(call: Call) -> Step | None:
    layer = call.operation
    return {
        "op": "pooling",
        "kind": _kind_of_pooling(layer),
        "size": list(layer.pool_size),
        "strides": list(layer.strides),
        "padding": layer.padding,
    }


def _global_pooling(call: Call) -> Step | None:
    layer = call.operation
    keepdims = bool(layer.keepdims)
    return {
        "op": "global_pooling",
        "kind": _kind_of_pooling(layer),
        "keepdims": keepdims,
    }


def _kind_of_pooling(layer: Any) -> str:
    return "max" if "Max" in type(layer).__name__ else "average"


def _padding(call: Call) -> Step | None:
    padding = call.operation.padding
    widths = [padding] if isinstance(padding[0], int) else list(padding)
    return {"op": "padding", "widths": [(0, 0), *widths, (0, 0)]}


def _step_of(**step: Any) -> Description:
    return lambda call: dict(step)


def _take(call: Call) -> Step | None:
    weights = {"positions": np.asarray(call.arguments[1]).astype(np.uint32)}
    return {"op": "take", "axis": call.operation.axis, "weights": weights}


def _transpose(call: Call) -> Step | None:
    axes = call.operation.axes
    return {"op": "transpose", "axes": None if axes is None else list(axes)}


def _prelu(call: Call) -> Step | None:
    return {"op": "prelu", "weights": {"slopes": numbers(call.operation.alpha)}}


def _reshape(call: Call) -> Step | None:
    return {"op": "reshape", "shape": list(call.operation.target_shape)}


# By the name of the class, which a layer shares with the operator that does the same.
_DESCRIPTIONS: dict[str, Description] = {
    "Activation": _activation,
    "Add": _step_of(op="add"),
    "Average": _step_of(op="average"),
    "AveragePooling1D": _pooling,
    "AveragePooling2D": _pooling,
    "BatchNormalization": _batch_normalization,
    "Concatenate": lambda call: {"op": "concatenate", "axis": int(call.operation.axis)},
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "Dense": lambda call: _kernel(call.operation, {"op": "dense"}),
    "ELU": lambda call: {"op": "elu", "alpha": float(call.operation.alpha)},
    "Flatten": _step_of(op="reshape", shape=[-1]),
    "GlobalAveragePooling1D": _global_pooling,
    "GlobalAveragePooling2D": _global_pooling,
    "GlobalMaxPooling1D": _global_pooling,
    "GlobalMaxPooling2D": _global_pooling,
    "LeakyReLU": _relu,
    "MaxPooling1D": _pooling,
    "MaxPooling2D": _pooling,
    "Maximum": _step_of(op="maximum"),
    "Minimum": _step_of(op="minimum"),
    "Multiply": _step_of(op="multiply"),
    "PReLU": _prelu,
    "ReLU": _relu,
    "Relu": _step_of(op="activation", activation="relu"),
    "Rescaling": lambda call: _affine(call.operation.scale, call.operation.offset),
    "Reshape": _reshape,
    "Sigmoid": _step_of(op="activation", activation="sigmoid"),
    "Softmax": _softmax,
    "Subtract": _step_of(op="subtract"),
    "Take": _take,
    "Tanh": _step_of(op="activation", activation="tanh"),
    "Transpose": _transpose,
    "ZeroPadding1D": _padding,
    "ZeroPadding2D": _padding,
}
_WITH_ARGUMENTS = {"Take"}
