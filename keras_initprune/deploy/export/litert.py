"""Writes LiteRT files, and runs them before they are kept."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import backend
from keras_initprune.deploy.export.converting import arrays_of, close, converting
from keras_initprune.graphs.copying import copy
from keras_initprune.graphs.graph import is_graph, operations
from keras_initprune.imports import needs
from keras_initprune.paths.inputs import example_call

# LiteRT stores very sparse dense layers in blocks of 4 inputs, 8-bit ones of 16.
_BLOCK = 16


def write(model: keras.Model, path: Path, sparse: bool, int8: bool = False) -> None:
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
    inputs = arrays_of(example.inputs)
    ready = align(model) if sparse and is_graph(model) else model
    convert(ready, path, sparse, int8)
    outputs = run(path, inputs, plain_kernels=int8)
    if int8 and not sparse:
        return
    if int8:
        rounded = path.with_name(f"dense-{path.name}")
        try:
            convert(ready, rounded, sparse=False, int8=True)
            expected = run(rounded, inputs, plain_kernels=True)
        finally:
            rounded.unlink(missing_ok=True)
    else:
        expected = arrays_of(example.run(model))
    if not close(outputs, expected):
        raise ValueError(
            f"LiteRT's sparse format does not compute what the model {model.name!r} "
            "does, so the file was not written. Use the format 'litert_dense'."
        )


def convert(model: keras.Model, path: Path, sparse: bool, int8: bool) -> None:
    """Convert a model to LiteRT as it is."""
    import tensorflow as tf

    optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] * sparse
    optimizations += [tf.lite.Optimize.DEFAULT] * int8
    with converting(model, "LiteRT"):
        model.export(path, format="litert", verbose=False, optimizations=optimizations)


def run(
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
        runner = interpreter(path, plain_kernels).get_signature_runner()
        names = _in_order(runner.get_input_details())
        results = runner(**dict(zip(names, inputs, strict=True)))
    except RuntimeError as error:
        raise ValueError(f"LiteRT cannot run the model: {error}") from error
    return [results[name] for name in _in_order(results)]


def interpreter(path: Path, plain_kernels: bool = False) -> Any:
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


def align(model: keras.Model) -> keras.Model:
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
