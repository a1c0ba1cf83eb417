"""What exported networks take on disk and per image, against dense ones."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.sizes import Sizes
from keras_initprune.arrays import selection
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.deploy import numpy_runtime
from keras_initprune.deploy.converters import litert_interpreter
from keras_initprune.deploy.export import FORMATS, export
from keras_initprune.files import size_of
from keras_initprune.lab import models
from keras_initprune.lab.measurement import Measurement, paired, single

# Each sparse format, and the one in which the dense network is written.
PAIRS = {"litert": "litert_dense", "litert_int8": "litert_int8_dense", "numpy": "numpy"}
# Short and many, for a call takes microseconds and schedulers interrupt for longer.
CALLS = 30
PAIRS_PER_PAIR = 20


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Export a perceptron of 784-300-100-10, pruned at random, in the sparse formats.

    Yields:
        Bytes, and the time of one image on one thread, as ratios to the dense network
        in the same format with zeros stored.
    """
    with tempfile.TemporaryDirectory() as folder:
        dense = {
            name: _write(models.perceptron(seed=0), name, Path(folder, "dense"))
            for name in dict.fromkeys(PAIRS.values())
        }
        for sparsity in sizes.small_sparsities:
            model = _pruned(sparsity)
            for name, unit in PAIRS.items():
                path = _write(model, name, Path(folder, f"{sparsity}"))
                yield from _compare(name, path, dense[unit], sparsity, sizes)


def _pruned(sparsity: float) -> keras.Model:
    model = models.perceptron(seed=0)
    weights = prunable_weights(model)
    values = {path: np.abs(weight.numpy()) for path, weight in weights.items()}
    # One candidate is random pruning.
    masks = selection.k_starts_masks(values, 1, sparsity)
    for path, weight in weights.items():
        weight.variable.assign(np.where(masks[path], weight.numpy(), 0))
    return model


def _write(model: keras.Model, name: str, folder: Path) -> Path:
    return export(model, folder / f"{name}{FORMATS[name].suffix}", name)


def _compare(
    name: str, path: Path, dense: Path, sparsity: float, sizes: Sizes
) -> Iterator[Measurement]:
    label = f"{name}, {sparsity:.0%} sparse"
    unit = f"dense {name}"
    counts = {"bytes": [size_of(path), size_of(dense)]}
    yield single(
        f"{label}: bytes", unit, size_of(path) / size_of(dense), details=counts
    )
    yield paired(
        f"{label}: one image",
        unit,
        (_predicts(name, path), _predicts(name, dense)),
        sizes.pairs * PAIRS_PER_PAIR,
    )


def _predicts(name: str, path: Path) -> Callable[[], Any]:
    """Return what predicts one image many times over."""
    image = np.random.default_rng(0).random((1, 28, 28, 1), np.float32)
    if name == "numpy":
        model = numpy_runtime.load(path)
        return lambda: [model.predict(image) for _ in range(CALLS)]
    # XNNPACK refuses sparse weights of 8 bits, and is the default for dense ones.
    plain = name == "litert_int8" and "dense" not in path.name
    return invokes(path, image, CALLS, plain)


def invokes(
    path: Path, inputs: np.ndarray, calls: int, plain_kernels: bool = False
) -> Callable[[], Any]:
    """Return what runs a LiteRT file so many times."""
    interpreter = litert_interpreter(path, plain_kernels)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    return lambda: [interpreter.invoke() for _ in range(calls)]
