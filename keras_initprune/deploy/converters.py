"""Writes LiteRT and ONNX files, and runs them before they are kept."""

import contextlib
import functools
import importlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import backend
from keras_initprune.graphs.graph import copy, is_graph, operations
from keras_initprune.imports import needs
from keras_initprune.paths.inputs import example_call
from keras_initprune.quiet import quiet_exports

_TOLERANCE = 1e-4
# LiteRT stores very sparse dense layers in blocks of 4 inputs, 8-bit ones of 16.
_BLOCK = 16
# What Keras converts with on each backend, and the extra that brings it.
_CONVERTERS = {
    "tensorflow": ("tf2onnx", "onnx"),
    "jax": ("jax2onnx", "onnx-jax"),
    "torch": ("onnx", "onnx"),
}


def write_litert(
    model: keras.Model, path: Path, sparse: bool, int8: bool = False
) -> None:
    """Convert a model to LiteRT, run it, and keep it if it computes the same.

    Args:
        model: A model without masks.
        path: Where to write.
        sparse: Whether to leave out zeros.
        int8: Whether to store weights in 8 bits. With `sparse` the outputs have to be
            those of the 8-bit file that is not sparse.

    Raises:
        ImportError: If `ai-edge-litert` is not installed.
        ValueError: If the model cannot be converted, or LiteRT does not compute what it
            should, or Keras runs on another backend than TensorFlow.
    """
    backend.check_tensorflow(
        "The converter to LiteRT is", "export the format 'keras' and convert that file"
    )
    _interpreter_module()  # Say that it is missing before seconds of conversion.
    example = example_call(model)
    inputs = _arrays_of(example.inputs)
    ready = _align(model) if sparse and is_graph(model) else model
    convert_to_litert(ready, path, sparse, int8)
    outputs = run_litert(path, inputs, plain_kernels=int8)
    if int8 and not sparse:
        return
    if int8:
        rounded = path.with_name(f"dense-{path.name}")
        try:
            convert_to_litert(ready, rounded, sparse=False, int8=True)
            expected = run_litert(rounded, inputs, plain_kernels=True)
        finally:
            rounded.unlink(missing_ok=True)
    else:
        expected = _arrays_of(example.run(model))
    if not _close(outputs, expected):
        raise ValueError(
            f"LiteRT's sparse format does not compute what the model {model.name!r} "
            "does, so the file was not written. Use the format 'litert_dense'."
        )


def convert_to_litert(model: keras.Model, path: Path, sparse: bool, int8: bool) -> None:
    """Convert a model to LiteRT as it is."""
    import tensorflow as tf

    optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] * sparse
    optimizations += [tf.lite.Optimize.DEFAULT] * int8
    with _converting(model, "LiteRT"):
        model.export(path, format="litert", verbose=False, optimizations=optimizations)


def run_litert(
    path: Path, inputs: Sequence[NDArray], plain_kernels: bool = False
) -> list[NDArray]:
    """Run a LiteRT file.

    Args:
        path: The file.
        inputs: The inputs in the order of the Keras model's.
        plain_kernels: Whether to do without XNNPACK, the default delegate, which
            refuses weights that are both sparse and 8-bit. Defaults to False.

    Returns:
        The outputs in the order of the Keras model's.

    Raises:
        ValueError: If LiteRT refuses the file.
    """
    try:
        runner = litert_interpreter(path, plain_kernels).get_signature_runner()
        names = _in_order(runner.get_input_details())
        results = runner(**dict(zip(names, inputs, strict=True)))
    except RuntimeError as error:
        raise ValueError(f"LiteRT cannot run the model: {error}") from error
    return [results[name] for name in _in_order(results)]


def litert_interpreter(path: Path, plain_kernels: bool = False) -> Any:
    """Return LiteRT's interpreter of a file, on one thread."""
    module = _interpreter_module()
    kinds = module.OpResolverType
    return module.Interpreter(
        str(path),
        num_threads=1,
        experimental_op_resolver_type=(
            kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain_kernels else kinds.AUTO
        ),
    )


def _align(model: keras.Model) -> keras.Model:
    """Return the same function, its dense layers reading a multiple of 16 inputs.

    The converter goes wrong where the last block of a sparse kernel is not full: LiteRT
    then reads other weights. Zeros are appended to what such a layer reads.
    """
    missing = {
        id(layer): -layer.kernel.shape[0] % _BLOCK
        for layer in operations(model)
        if type(layer) is keras.layers.Dense and not layer.quantization_mode
    }
    padded = {key: count for key, count in missing.items() if count}
    if not padded:
        return model

    def replace(layer: keras.Layer) -> keras.Layer | None:
        is_padded = id(layer) in padded
        return type(layer).from_config(layer.get_config()) if is_padded else None

    prepare = {
        key: functools.partial(_append_zeros, count=count)
        for key, count in padded.items()
    }
    aligned, pairs = copy(model, replace, prepare)
    for old, new in pairs:
        if id(old) in padded:
            kernel = keras.ops.convert_to_numpy(old.kernel)
            new.kernel.assign(np.pad(kernel, [(0, padded[id(old)]), (0, 0)]))
            if old.use_bias:
                new.bias.assign(old.bias)
    return aligned


def _append_zeros(inputs: Any, count: int) -> Any:
    return keras.ops.pad(inputs, [[0, 0]] * (len(inputs.shape) - 1) + [[0, count]])


def _in_order(names: Any) -> list[str]:
    """Sort names as Keras numbers them: args_0, args_0_1, ..., args_0_10."""
    return sorted(names, key=lambda name: (len(name), name))


def _interpreter_module() -> Any:
    with needs("litert"):
        from ai_edge_litert import interpreter
    return interpreter


def write_onnx(model: keras.Model, path: Path) -> None:
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
    expected = _arrays_of(example.run(model))
    # Converters warn of what they are not sure of; the file is compared below.
    with _converting(model, "ONNX"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(str(path), format="onnx", verbose=False)
    if not _close(run_onnx(path, _arrays_of(example.inputs)), expected):
        raise ValueError(
            f"The ONNX file does not compute what the model {model.name!r} does, so it "
            "was not written. Use the format 'keras'."
        )


def run_onnx(path: Path, inputs: Sequence[NDArray]) -> list[NDArray]:
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


@contextlib.contextmanager
def _converting(model: keras.Model, target: str) -> Iterator[None]:
    """Say in one sentence why a model cannot be converted."""
    try:
        with quiet_exports():
            yield
    # Converters raise whatever their passes happen to raise.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{target} cannot convert the model {model.name!r}: {reason}"
        ) from error


def _arrays_of(structure: Any) -> list[NDArray]:
    """Return the tensors of a structure as arrays, in Keras' order."""
    return [
        keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(structure)
    ]


def _close(found: Sequence[NDArray], expected: Sequence[NDArray]) -> bool:
    """Return whether outputs are those of the model, up to rounding."""
    return len(found) == len(expected) and all(map(_is_close, found, expected))


def _is_close(found: NDArray, expected: NDArray) -> bool:
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    return found.shape == expected.shape and bool(
        (np.abs(found - expected) <= _TOLERANCE * scale).all()
    )
