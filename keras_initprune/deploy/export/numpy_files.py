"""Writes models for `numpy_runtime`, which needs neither TensorFlow nor Keras."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from keras_initprune.deploy import numpy_runtime
from keras_initprune.deploy.compaction.rules import IDENTITIES
from keras_initprune.deploy.export.numpy_layers import (
    DESCRIPTIONS,
    WITH_ARGUMENTS,
    Step,
)
from keras_initprune.graphs.graph import Call, Graph, call_counts, is_graph, trace


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
                results = [self._step(graph, call, read)]
            numbers_of.update(zip(call.outputs, results, strict=True))
        return [numbers_of[tensor] for tensor in graph.outputs]

    def _step(self, graph: Graph, call: Call, read: list[int]) -> int:
        operation = call.operation
        kind = type(operation)
        step = None
        if (
            kind.__name__ in DESCRIPTIONS
            and kind.__module__.startswith("keras.")
            and (call.is_plain or kind.__name__ in WITH_ARGUMENTS)
            and getattr(operation, "data_format", None) != "channels_first"
        ):
            step = DESCRIPTIONS[kind.__name__](graph, call)
        if step is None:
            raise ValueError(
                f"The format 'numpy' does not support the layer {operation.name!r} "
                f"({kind.__name__}) as it is used here. Supported are "
                f"{', '.join(sorted(DESCRIPTIONS))}, with channels last."
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
