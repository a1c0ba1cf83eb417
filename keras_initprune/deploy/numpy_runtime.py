"""Runs exported models with NumPy and SciPy: no TensorFlow, no Keras.

This file needs nothing else of this package. Copy it to where a model is to run, or
install the package there without its dependencies; where TensorFlow is not installed,
`import keras_initprune.deploy.numpy_runtime` loads NumPy and SciPy only.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

VERSION = 1
ARCHITECTURE = "architecture"
MAX_BYTES = 1 << 32

ACTIVATIONS: dict[str, Callable[[NDArray], NDArray]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x >= 0, x, np.float32(0.2) * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: (
        np.float32(1.05070098)
        * np.where(x > 0, x, np.float32(1.67326324) * np.expm1(np.minimum(x, 0)))
    ),
    "sigmoid": special.expit,
    "hard_sigmoid": lambda x: np.clip(x / 6 + np.float32(0.5), 0, 1),
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, np.float32(0)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: x * special.ndtr(x),
    "exponential": np.exp,
    "softmax": lambda x: special.softmax(x, axis=-1),
    "log_softmax": lambda x: special.log_softmax(x, axis=-1),
}


class NumpyModel:
    """A model that was exported with `export(model, path, "numpy")`.

    Args:
        architecture: The steps that compute the outputs, and what they are called.
        arrays: The weights.

    Raises:
        ValueError: If a newer version of this package wrote it, or a step reads what is
            not there.
    """

    def __init__(
        self, architecture: Mapping[str, Any], arrays: Mapping[str, NDArray]
    ) -> None:
        self.architecture = architecture
        self.arrays = arrays
        if architecture["version"] > VERSION:
            raise ValueError(
                f"This file has format version {architecture['version']}, and this "
                f"loader reads versions up to {VERSION}. Use a newer one."
            )
        self._steps = [(step, self._weights(step)) for step in architecture["steps"]]
        self._check_graph()

    def predict(self, inputs: Any) -> Any:
        """Compute the outputs for a batch of inputs.

        Args:
            inputs: An array with the batch first, or a list of them or a dictionary by
                the names of the inputs if the model has several.

        Returns:
            Outputs as the Keras model returns them: an array, a list or a dictionary.

        Raises:
            ValueError: If the inputs do not fit, or a step cannot be computed.
        """
        values: dict[int, NDArray] = dict(enumerate(self._inputs(inputs)))
        for step, weights in self._steps:
            read = [values[tensor] for tensor in step["inputs"]]
            try:
                values[step["output"]] = OPERATIONS[step["op"]](read, step, weights)
            except Exception as error:
                # Settings that make no sense end in whatever NumPy happens to raise.
                raise ValueError(
                    f"The step {step['op']!r} of the model cannot be computed: "
                    f"{error!r}"
                ) from error
        outputs = [values[tensor] for tensor in self.architecture["outputs"]]
        keys = self.architecture["output_keys"]
        if keys is not None:
            return dict(zip(keys, outputs, strict=True))
        return outputs[0] if self.architecture["single_output"] else outputs

    __call__ = predict

    def _inputs(self, inputs: Any) -> list[NDArray]:
        specs = self.architecture["inputs"]
        if isinstance(inputs, Mapping):
            inputs = [inputs[spec["name"]] for spec in specs]
        elif len(specs) == 1:
            inputs = [inputs]
        arrays = [np.asarray(value, np.float32) for value in inputs]
        shapes = [spec["shape"] for spec in specs]
        if len(arrays) != len(shapes) or any(
            array.ndim != len(shape) + 1
            or any(
                size not in (None, given)
                for size, given in zip(shape, array.shape[1:], strict=True)
            )
            for array, shape in zip(arrays, shapes, strict=True)
        ):
            raise ValueError(
                f"`inputs` must have the shapes {shapes} after the batch. Received: "
                f"shapes {[list(array.shape) for array in arrays]}"
            )
        return arrays

    def _weights(self, step: Mapping[str, Any]) -> dict[str, Any]:
        weights: dict[str, Any] = {}
        for name, key in step.get("arrays", {}).items():
            weights[name] = self.arrays[key]
        for name, (key, shape) in step.get("sparse", {}).items():
            parts = [
                self.arrays[f"{key}.{part}"] for part in ("data", "indices", "indptr")
            ]
            weights[name] = _csr(parts, tuple(shape))
        return weights

    def _check_graph(self) -> None:
        """Raise unless every step reads what comes before it."""
        inputs, outputs = self.architecture["inputs"], self.architecture["outputs"]
        known = set(range(len([(spec["name"], len(spec["shape"])) for spec in inputs])))
        for step, _ in self._steps:
            read = step["inputs"]
            if step["op"] not in OPERATIONS or not read or not known.issuperset(read):
                raise ValueError(
                    f"The step {step['op']!r} is unknown or reads nothing."
                )
            known.add(step["output"])
        keys = self.architecture["output_keys"]
        expected = len(outputs if keys is None else keys)
        if not outputs or len(outputs) != expected or not known.issuperset(outputs):
            raise ValueError(f"No step computes the outputs {outputs} named {keys}.")
        bool(self.architecture["single_output"])


def load(path: str | Path, max_bytes: int = MAX_BYTES) -> NumpyModel:
    """Load a model that was exported with `export(model, path, "numpy")`.

    A damaged file is refused, and so is one that was made to do harm: nothing in it
    runs, no number reaches compiled code unchecked, and what a small file unpacks to is
    bounded. How much memory `predict` takes is up to the file.

    Args:
        path: The `.npz` file.
        max_bytes: Most bytes that the file may unpack to. Defaults to 4 GiB.

    Returns:
        A `NumpyModel`, whose `predict` computes what the Keras model does.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is not such a file, is damaged, or unpacks to more.

    Example:
        >>> import tempfile
        >>> import keras
        >>> from keras_initprune import export
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> path = export(model, f"{tempfile.mkdtemp()}/model.npz", "numpy")
        >>> load(path).predict([[1, 0, 0, 0]]).shape
        (1, 2)
    """
    with Path(path).open("rb") as file:
        try:
            arrays = read_arrays(file, max_bytes)
            architecture = json.loads(str(arrays.pop(ARCHITECTURE)))
            return NumpyModel(architecture, arrays)
        except Exception as error:
            # What is damaged raises whatever the damaged part happens to lead to.
            reason = error if type(error) is ValueError else repr(error)
            raise ValueError(
                f"{path} is not an exported model that can be loaded: {reason}"
            ) from error


def read_arrays(file: BinaryIO, max_bytes: int | None = None) -> dict[str, NDArray]:
    """Read an `.npz` file, whose checksums NumPy leaves out where a header is damaged.

    Args:
        file: The file.
        max_bytes: Most bytes that it may unpack to. Defaults to any number.

    Returns:
        From name to array. None of them can hold Python objects.

    Raises:
        Exception: If it is damaged: whatever the damaged part happens to lead to.
        ValueError: If it unpacks to more.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if max_bytes is not None and size > max_bytes:
            raise ValueError(
                f"It unpacks to {size:,} bytes, more than `max_bytes`. "
                f"Received: max_bytes={max_bytes:,}"
            )
        if len(set(archive.namelist())) != len(members):
            raise ValueError("It holds two arrays of one name.")
        return {
            member.filename.removesuffix(".npy"): _array(archive, member)
            for member in members
        }


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray:
    """Return a member's array, not larger than the archive says that it is."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in a way that is not read.")
    with archive.open(member) as file:
        # Without a number, all that is compressed would be unpacked before it is cut.
        content = file.read(member.file_size)
    stream = io.BytesIO(content)
    np.lib.format.read_magic(stream)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"{member.filename} has the shape {shape}.")
    # Of the shape in the header if that is the size of the content, or an error.
    values = np.frombuffer(content, dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


def _csr(parts: Sequence[NDArray], shape: tuple) -> Any:
    """Return a sparse kernel; products trust its indices and read where they point."""
    data, indices, indptr = parts
    rows, columns = shape
    if not (
        data.ndim == indices.ndim == indptr.ndim == 1
        and (data.dtype.kind, indices.dtype.kind, indptr.dtype.kind) == ("f", "u", "u")
        and len(indptr) == rows + 1
        and indptr[0] == 0
        and indptr[-1] == len(indices) == len(data)
        and (indptr[:-1] <= indptr[1:]).all()
        and indices.max(initial=0) < columns
    ):
        raise ValueError(f"A sparse kernel reaches beyond its shape {shape}.")
    return sparse.csr_array((data, indices, indptr), shape)


def product(x: NDArray, kernel: Any) -> NDArray:
    """Multiply rows with a kernel of shape (outputs, inputs), dense or CSR.

    Example:
        >>> kernel = sparse.csr_array([[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
        >>> product(np.array([[3.0, 4.0]]), kernel).tolist()
        [[8.0, 0.0, 3.0]]
    """
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) == 1:
        result = (kernel @ rows[0])[None]
    elif sparse.issparse(kernel):
        result = (kernel @ np.ascontiguousarray(rows.T)).T
    else:
        result = rows @ kernel.T
    return result.reshape(*x.shape[:-1], kernel.shape[0])


def _dense(read: list, step: Mapping, weights: Mapping) -> NDArray:
    sums = product(read[0], weights["kernel"])
    if "bias" in weights:
        sums = sums + weights["bias"]
    return ACTIVATIONS[step["activation"]](sums)


def _convolution(read: list, step: Mapping, weights: Mapping) -> NDArray:
    windows = _patches(read[0], step)
    rows = windows.reshape(*windows.shape[: read[0].ndim - 1], -1)
    return _dense([rows], step, weights)


def _patches(x: NDArray, step: Mapping, fill: float = 0.0) -> NDArray:
    """Return windows of shape (batch, *positions, *window, channels)."""
    sizes, strides = step["size"], step["strides"]
    dilation = step.get("dilation", [1] * len(sizes))
    spans = [(size - 1) * d + 1 for size, d in zip(sizes, dilation, strict=True)]
    pads = [
        _padding(step["padding"], length, span, stride)
        for length, span, stride in zip(x.shape[1:-1], spans, strides, strict=True)
    ]
    x = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    axes = tuple(range(1, 1 + len(sizes)))
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, axes)
    steps = [slice(None, None, stride) for stride in strides]
    taps = [slice(None, None, d) for d in dilation]
    windows = windows[(slice(None), *steps, slice(None), *taps)]
    return np.moveaxis(windows, 1 + len(sizes), -1)


def _padding(kind: str, length: int, span: int, stride: int) -> tuple[int, int]:
    if kind == "valid":
        return 0, 0
    if kind == "causal":
        return span - 1, 0
    total = max((-(-length // stride) - 1) * stride + span - length, 0)
    return total // 2, total - total // 2


def _pooling(read: list, step: Mapping, weights: Mapping) -> NDArray:
    # What is padded counts in no maximum and in no average.
    maximum = step["kind"] == "max"
    windows = _patches(read[0], step, -np.inf if maximum else np.nan)
    axes = tuple(range(read[0].ndim - 1, windows.ndim - 1))
    return windows.max(axis=axes) if maximum else np.nanmean(windows, axis=axes)


def _global_pooling(read: list, step: Mapping, weights: Mapping) -> NDArray:
    axes = tuple(range(1, read[0].ndim - 1))
    pool = np.max if step["kind"] == "max" else np.mean
    return pool(read[0], axis=axes, keepdims=step["keepdims"])


def _average(read: list, step: Mapping, weights: Mapping) -> NDArray:
    return sum(read[1:], read[0]) / np.float32(len(read))


def _reshape(read: list, step: Mapping, weights: Mapping) -> NDArray:
    return read[0].reshape(len(read[0]), *step["shape"])


def _relu(read: list, step: Mapping, weights: Mapping) -> NDArray:
    x, threshold = read[0], np.float32(step["threshold"])
    slope = np.float32(step["negative_slope"])
    result = np.where(x >= threshold, x, slope * (x - threshold))
    return np.minimum(
        result, np.float32(np.inf if step["maximum"] is None else step["maximum"])
    )


def _folding(function: Callable) -> Callable:
    def fold(read: list, step: Mapping, weights: Mapping) -> NDArray:
        result = read[0]
        for other in read[1:]:
            result = function(result, other)
        return result

    return fold


OPERATIONS: dict[str, Callable[[list, Mapping, Mapping], NDArray]] = {
    "activation": lambda read, step, weights: ACTIVATIONS[step["activation"]](read[0]),
    "add": _folding(np.add),
    "affine": lambda read, step, weights: read[0] * weights["scale"] + weights["shift"],
    "average": _average,
    "concatenate": lambda read, step, weights: np.concatenate(read, step["axis"]),
    "convolution": _convolution,
    "dense": _dense,
    "elu": lambda read, step, weights: np.where(
        read[0] > 0,
        read[0],
        np.float32(step["alpha"]) * np.expm1(np.minimum(read[0], 0)),
    ),
    "global_pooling": _global_pooling,
    "maximum": _folding(np.maximum),
    "minimum": _folding(np.minimum),
    "multiply": _folding(np.multiply),
    "padding": lambda read, step, weights: np.pad(read[0], step["widths"]),
    "pooling": _pooling,
    "prelu": lambda read, step, weights: np.where(
        read[0] > 0, read[0], weights["slopes"] * read[0]
    ),
    "relu": _relu,
    "reshape": _reshape,
    "softmax": lambda read, step, weights: special.softmax(read[0], axis=step["axis"]),
    "subtract": _folding(np.subtract),
    "take": lambda read, step, weights: np.take(
        read[0], weights["positions"].astype(np.intp), step["axis"]
    ),
    "transpose": lambda read, step, weights: np.transpose(read[0], step["axes"]),
}
