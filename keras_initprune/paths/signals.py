"""Signals: values that only say whether a unit is live.

Every example gets its own inputs. A unit that depends on them differs from example to
example, a unit that does not is the same in all of them. Replacing values by signals
gives live units a number that belongs to the example, and dead ones a constant. It is
done to gradients too, on their way back, so nothing grows or vanishes, however deep.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend

# Dead units emit a number that is not zero, because they may multiply live ones, as
# gates do. It is small, so that rounding does not lose live ones that are added to it.
_CONSTANT = 0.125
_ROUNDING_STEPS = 8


class Signals:
    """Replaces values by signals, by other ones at every call.

    Args:
        stream: Signals of other streams differ. Defaults to 0.

    Example:
        >>> values = ops.array([[0.0, 3.0], [0.0, 4.0]])
        >>> ops.convert_to_numpy(Signals().clean(values))[:, 0].tolist()
        [0.0, 0.0]
    """

    def __init__(self, stream: int = 0) -> None:
        self._stream = stream
        self._calls = 0

    def source(self, values: Any) -> Any:
        """Return signals of the shape of `values`, live wherever it is not 0."""
        return self._signal(values, lambda values: ops.not_equal(values, 0), _CONSTANT)

    def data(self, values: Any, dtype: str) -> Any:
        """Return signals of the shape of `values` that are all live."""
        return self.source(ops.ones(values.shape, dtype))

    def clean(self, values: Any) -> Any:
        """Return signals in which dead units are 0."""
        return self._signal(values, is_live, 0.0)

    def emit(self, values: Any) -> Any:
        """Return signals in which dead units are a constant; integers are kept."""
        values = ops.convert_to_tensor(values)
        if not backend.is_float(values):
            return values
        return self._signal(values, is_live, _CONSTANT)

    def _signal(self, values: Any, live: Callable[[Any], Any], constant: float) -> Any:
        noise = self._noise(values)

        @ops.custom_gradient
        def signal(values: Any) -> tuple[Any, Callable[..., Any]]:
            def gradient(*args: Any, upstream: Any = None) -> Any:
                # PyTorch passes it by name, beside the arguments of `signal`.
                upstream = args[0] if upstream is None else upstream
                return ops.where(
                    ops.not_equal(upstream, 0), noise, ops.zeros_like(noise)
                )

            return ops.where(live(values), noise, ops.full_like(noise, constant)), (
                gradient
            )

        return signal(values)

    def _noise(self, values: Any) -> Any:
        """Return numbers in [0.5, 1) for the first example, [1.5, 2) for others."""
        self._calls += 1
        key = np.array([self._stream, self._calls]).astype(np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        uniform = generator.random(tuple(values.shape), np.float32)
        offset = np.full(len(uniform), 1.5, np.float32)
        offset[:1] = 0.5
        # Less than 1, for rounding to the next number must not meet the other range.
        noise = 0.49 * uniform + offset.reshape(-1, *[1] * (uniform.ndim - 1))
        return ops.cast(noise, values.dtype)


def is_live(values: Any) -> Any:
    """Return which units differ between examples, by more than rounding.

    Example:
        >>> live = is_live(ops.array([[1.0, 2.0], [1.0, 3.0]]))
        >>> ops.convert_to_numpy(live).tolist()
        [[False, True]]
    """
    first = values[:1]
    size = ops.maximum(ops.abs(values), ops.abs(first))
    rounding = size * ops.cast(_ROUNDING_STEPS * _epsilon(values.dtype), values.dtype)
    # Negated, so that what is not a number counts as different.
    different = ops.logical_not(ops.abs(values - first) <= rounding)
    return ops.any(different, axis=0, keepdims=True)


def _epsilon(dtype: Any) -> float:
    name = keras.backend.standardize_dtype(dtype)
    # NumPy does not know bfloat16, which has eight bits.
    return 2.0**-7 if name == "bfloat16" else float(np.finfo(name).eps)
