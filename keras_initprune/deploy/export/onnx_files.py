"""Writes ONNX files, and runs them before they are kept."""

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import backend
from keras_initprune.deploy.export.converting import arrays_of, close, converting
from keras_initprune.imports import needs
from keras_initprune.paths.inputs import example_call

# What Keras converts with on each backend, and the extra that brings it.
_CONVERTERS = {
    "tensorflow": ("tf2onnx", "onnx"),
    "jax": ("jax2onnx", "onnx-jax"),
    "torch": ("onnx", "onnx"),
}


def write(model: keras.Model, path: Path) -> None:
    """Convert a model to ONNX, run it, and keep it if it computes the same.

    Raises:
        ImportError: If Keras' converter or `onnxruntime` is not installed.
        ValueError: If the model cannot be converted, or the file does not compute what
            the model does.
    """
    converter, extra = _CONVERTERS[backend.NAME]
    with needs(extra):
        # Say that they are missing before seconds of conversion.
        importlib.import_module(converter)
        importlib.import_module("onnxruntime")
    example = example_call(model)
    expected = arrays_of(example.run(model))
    # Converters warn of what they are not sure of; the file is compared below.
    with converting(model, "ONNX"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(str(path), format="onnx", verbose=False)
    if not close(run(path, arrays_of(example.inputs)), expected):
        raise ValueError(
            f"The ONNX file does not compute what the model {model.name!r} does, so it "
            "was not written. Use the format 'keras'."
        )


def run(path: Path, inputs: Sequence[NDArray]) -> list[NDArray]:
    """Run an ONNX file on the CPU.

    Raises:
        ValueError: If ONNX Runtime refuses the file or the inputs.
    """
    runtime: Any = importlib.import_module("onnxruntime")
    try:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        outputs = session.run(None, dict(zip(names, inputs, strict=True)))
    except Exception as error:
        raise ValueError(f"ONNX Runtime cannot run the model: {error}") from error
    return [np.asarray(output) for output in outputs]
