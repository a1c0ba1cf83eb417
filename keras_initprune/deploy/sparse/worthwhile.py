"""Decides whether a layer is faster sparse: by a rule, or by measuring.

The rule is what `python -m benchmarks --measures break_even` finds for predictions of
64 examples on one thread, and in PyTorch calls of layers in turns. Where batches or
machines are of another kind, measure.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend
from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints import MaskConstraint

THRESHOLD = 0.9
# Sparse products want the examples last. What two transposes take in TensorFlow, a
# smaller kernel does not save. Behind a sparse layer there is no more than one, of the
# outputs, and the dense product would need it as well. PyTorch transposes nothing.
_SMALLEST = {"tensorflow": 1 << 17, "torch": 1 << 15}
_SMALLEST_AFTER_SPARSE = {"tensorflow": 1 << 13, "torch": 1 << 15}
_REPEATS = 15
# Calling Keras takes longer than a small product: so many in one call.
_STEPS = 16

# They look at one weight at a time, so that a vector of the kept ones does as well.
_REGULARIZERS = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
_CONSTRAINTS = (keras.constraints.NonNeg,)


def obstacle(layer: keras.layers.Dense, pattern: Mask) -> str | None:
    """Say what keeps a layer from being sparse at all, or return None."""
    regularizer, constraint = layer.kernel_regularizer, layer.kernel_constraint
    if isinstance(constraint, MaskConstraint):
        constraint = constraint.inner
    if not pattern.any():
        return "it keeps no weights"
    if regularizer is not None and type(regularizer) not in _REGULARIZERS:
        return f"{type(regularizer).__name__} needs the whole kernel"
    if constraint is not None and type(constraint) not in _CONSTRAINTS:
        return f"{type(constraint).__name__} needs the whole kernel"
    return None


def device_obstacle(device: str) -> str | None:
    """Say why sparse products do not pay on a device, or return None.

    On an H100 kernels of 4,096 x 4,096 with 90 to 99 % zeros take two to five times as
    long as dense ones for a batch of 512, and training with them five times.

    Example:
        >>> device_obstacle("/job:localhost/replica:0/task:0/device:GPU:0")
        'a sparse product is slower than a dense one on a GPU'
    """
    if "GPU" in device.upper() or "CUDA" in device.upper():
        return "a sparse product is slower than a dense one on a GPU"
    return None


def smallest_kernel(after_sparse: bool) -> int:
    """Return how many weights a kernel needs, kept or not, to be faster sparse.

    Args:
        after_sparse: Whether the layer reads sparse layers alone.
    """
    return (_SMALLEST_AFTER_SPARSE if after_sparse else _SMALLEST)[backend.NAME]


def pays(pattern: Mask, threshold: float, smallest: int) -> str | None:
    """Say why a layer would not be faster sparse, or return None.

    Example:
        >>> pays(np.ones((512, 512), bool), 0.9, smallest=1)
        'its sparsity of 0.000 is below 0.9'
    """
    # Counts, not fractions: rounded up, 10 % of the weights are kept at 90 %.
    if np.count_nonzero(pattern) > round((1 - threshold) * pattern.size) + 1:
        sparsity = 1 - np.count_nonzero(pattern) / pattern.size
        return f"its sparsity of {sparsity:.3f} is below {threshold}"
    if pattern.size < smallest:
        return f"its {pattern.size:,} weights are too few"
    return None


def measured_obstacle(
    dense: keras.Layer, sparse: keras.Layer, batch_size: int
) -> str | None:
    """Time a layer's prediction both ways; say if dense is faster, or return None."""
    inputs = np.random.default_rng(0).random((batch_size, sparse.input_size), "float32")
    sides = [_prediction(layer, inputs) for layer in (sparse, dense)]
    for side in sides:
        side()
    ratios = []
    for _ in range(_REPEATS):
        seconds = []
        for side in sides:
            begin = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - begin)
        ratios.append(seconds[0] / seconds[1])
    ratio = statistics.median(ratios)
    return None if ratio < 1 else f"sparse takes {ratio:.2f} times as long"


def _prediction(layer: keras.Layer, inputs: np.ndarray) -> Callable[[], Any]:
    model = keras.Sequential([keras.Input(inputs.shape[1:]), layer])
    if backend.NAME == "torch":
        model.compile(jit_compile=False)
        return lambda: [model.predict_on_batch(inputs) for _ in range(_STEPS)]
    model.compile(jit_compile=False, steps_per_execution=_STEPS)
    model.make_predict_function()
    batches = [(ops.convert_to_tensor(inputs),)] * _STEPS
    return lambda: model.predict_function(batches)
