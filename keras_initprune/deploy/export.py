"""Writes models for where they run: Keras, TensorFlow, LiteRT, NumPy, ONNX."""

import fnmatch
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import keras

from keras_initprune import backend
from keras_initprune.constraints import remove_masks
from keras_initprune.constraints.weights import check_built
from keras_initprune.deploy import compaction, converters, numpy_files
from keras_initprune.deploy.sparse.conversion import has_sparse_layers, to_dense
from keras_initprune.files import check_replaceable, replacing
from keras_initprune.graphs.graph import copy, is_graph
from keras_initprune.quiet import quiet_exports
from keras_initprune.validation import check_boolean, check_choice


def plain(model: keras.Model) -> keras.Model:
    """Return a model without masks: itself if it carries none, or else a copy.

    Raises:
        ValueError: If it is not built, or is a subclass that carries masks and cannot
            be saved.
    """
    check_built(model)
    # Masks are the only boolean weights; not every model has something to prune.
    if not any(weight.dtype == "bool" for weight in model.weights):
        return model
    return remove_masks(copy(model)[0] if is_graph(model) else _copy_of_subclass(model))


def _copy_of_subclass(model: keras.Model) -> keras.Model:
    try:
        return deepcopy(model)
    except Exception as error:
        reason = str(error).partition(". ")[0]
        raise ValueError(
            "A subclass of `keras.Model` is copied by what it saves, and this one "
            "cannot be: register it and give it a `get_config`, or take its masks off "
            f"with `remove_masks` before it is exported. Received: model={model!r} "
            f"({reason})"
        ) from None


def write_keras(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file, without an optimizer where the model can be copied."""
    if model.compiled and is_graph(model):
        # What an optimizer keeps of every weight would triple the file.
        model, _ = copy(model)
    model.save(path)


def write_saved_model(model: keras.Model, path: Path) -> None:
    """Write a SavedModel for inference: its `serve` takes batches of any size."""
    backend.check_tensorflow(
        "SavedModels are", "export the format 'keras' and load that file"
    )
    with quiet_exports():
        model.export(path, format="tf_saved_model", verbose=False)


@dataclass(frozen=True)
class Format:
    """A format that a model can be written in.

    Attributes:
        write: Writes a model without masks to a path that is free.
        suffix: What the path ends in; empty for a folder.
        stores_zeros: Whether zeros take as much room as other numbers.
    """

    write: Callable[[keras.Model, Path], None]
    suffix: str
    stores_zeros: bool = True


FormatName = Literal[
    "keras",
    "saved_model",
    "litert",
    "litert_dense",
    "litert_int8",
    "litert_int8_dense",
    "numpy",
    "onnx",
]

FORMATS: Mapping[str, Format] = {
    "keras": Format(write_keras, ".keras"),
    "saved_model": Format(write_saved_model, ""),
    "litert": Format(partial(converters.write_litert, sparse=True), ".tflite", False),
    "litert_dense": Format(partial(converters.write_litert, sparse=False), ".tflite"),
    "litert_int8": Format(
        partial(converters.write_litert, sparse=True, int8=True), ".tflite", False
    ),
    "litert_int8_dense": Format(
        partial(converters.write_litert, sparse=False, int8=True), ".tflite"
    ),
    "numpy": Format(numpy_files.write, ".npz", False),
    "onnx": Format(converters.write_onnx, ".onnx"),
}

# The files of a SavedModel, those of other versions among them.
_SAVED_MODEL = (
    "saved_model.pb",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables/variables.*",
    "assets/*",
    "debug/saved_model_debug_info.pb",
)


def export(
    model: keras.Model,
    path: str | Path,
    format: FormatName | str = "keras",
    compact: bool = False,
) -> Path:
    """Write a model, without its masks, for where it is to run.

    - `"keras"`: a plain `.keras` file, which needs nothing of this package. It holds no
      optimizer; `model.save` keeps one, and the masks, to train on.
    - `"saved_model"`: a TensorFlow SavedModel folder.
    - `"litert"`: a `.tflite` file in which zeros are not stored. Dense layers are
      faster from about 97 % sparsity on.
    - `"litert_int8"`: the same with 8-bit weights. LiteRT's default delegate, XNNPACK,
      refuses weights that are both sparse and 8-bit, so such a file has to be run
      without it: `Interpreter(path, experimental_op_resolver_type=
      OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)`. Such files are small, not
      fast.
    - `"litert_dense"` and `"litert_int8_dense"`: the same with zeros stored, which run
      everywhere; faster than sparse ones below the sparsities above.
    - `"numpy"`: an `.npz` file that `keras_initprune.deploy.numpy_runtime.load` runs
      with NumPy and SciPy alone, kernels with many zeros in the CSR format.
    - `"onnx"`: an `.onnx` file, zeros stored, which ONNX Runtime runs. Keras converts
      with `tf2onnx` on TensorFlow, `jax2onnx` on JAX and `onnx` on PyTorch.

    Sparse layers are written as the dense ones that they stand for, except in a
    SavedModel, where they stay.

    A LiteRT file takes one example at a time; to run batches, call the interpreter's
    `resize_tensor_input` before `allocate_tensors`. Before a LiteRT or ONNX file is
    written it is run, and compared with the model. The new file or folder takes the
    place of an old one at the end, as a whole.

    Args:
        model: A built Keras model, with or without masks. It stays as it is.
        path: Where to write; it must end in the format's suffix.
        format: One of `FORMATS`. Defaults to `"keras"`.
        compact: Whether to take out what does nothing first, see `compact`. Defaults to
            False.

    Returns:
        The path.

    Raises:
        ValueError: If the format is unknown, the path does not fit it, or the model
            cannot be written in it.
        ImportError: If a format needs a package that is not installed.
        OSError: If the path cannot be written.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> path = export(model, f"{tempfile.mkdtemp()}/model.npz", "numpy")
        >>> from keras_initprune.deploy import numpy_runtime
        >>> numpy_runtime.load(path).predict([[1, 0, 0, 0]]).shape
        (1, 2)
    """
    path = check_target(path, format)
    check_boolean(compact, "compact")
    found = FORMATS[format]
    if isinstance(model, keras.Model) and has_sparse_layers(model):
        # TensorFlow alone has products for them, and compaction takes dense layers.
        model = model if format == "saved_model" and not compact else to_dense(model)
    if compact:
        # Where zeros cost nothing, a list of the inputs that are read would cost more.
        gather = 0.5 if found.stores_zeros else 0.0
        ready = compaction.compact(model, gather=gather)
    else:
        ready = plain(model)
    with replacing(path, is_saved_model) as temporary:
        found.write(ready, temporary)
    return path


def check_target(path: str | Path, format: str) -> Path:
    """Return `path`, or raise unless a model can be written there in a format.

    Raises:
        ValueError: If the format is unknown, or the path does not fit it.
        OSError: If a folder is there that holds more than an earlier SavedModel.
    """
    suffix = FORMATS[check_choice(format, "format", FORMATS)].suffix
    if not isinstance(path, str | os.PathLike):
        raise ValueError(
            f"`path` must be a string or a `pathlib.Path`. Received: path={path!r}"
        )
    path = Path(path)
    if path.suffix != suffix and suffix:
        raise ValueError(
            f"`path` must end in {suffix!r} for the format {format!r}. "
            f"Received: path={str(path)!r}"
        )
    if path.is_file() and not suffix:
        raise FileExistsError(f"{path} is a file. Choose another path for the folder.")
    if path.is_dir() and suffix:
        raise FileExistsError(f"{path} is a folder. Choose another path for the file.")
    check_replaceable(path, is_saved_model)
    return path


def is_saved_model(folder: Path) -> bool:
    """Return whether a folder holds a SavedModel, and nothing else."""
    names = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    ]
    return "saved_model.pb" in names and all(
        any(fnmatch.fnmatch(name, pattern) for pattern in _SAVED_MODEL)
        for name in names
    )
