"""Signals: values that only say whether a unit is live.

Every example gets its own inputs. A unit that depends on them differs from example to
example, a unit that does not is the same in all of them. Replacing values by signals
gives live units a number that belongs to the example, and dead ones a constant. It is
done to gradients too, on their way back, so nothing grows or vanishes, however deep.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

# Dead units emit a number that is not zero, because they may multiply live ones, as
# gates do. It is small, so that rounding does not lose live ones that are added to it.
_CONSTANT = 0.125
_ROUNDING_STEPS = 8


class Signals:
    """Replaces values by signals, by other ones at every call.

    Args:
        stream: Signals of other streams differ. Defaults to 0.

    Example:
        >>> values = tf.constant([[0.0, 3.0], [0.0, 4.0]])
        >>> Signals().clean(values).numpy()[:, 0].tolist()
        [0.0, 0.0]
    """

    def __init__(self, stream: int = 0) -> None:
        self._stream = stream
        self._calls = 0

    def source(self, values: Any) -> Any:
        """Return signals of the shape of `values`, live wherever it is not 0."""
        return self._signal(values, values != 0, _CONSTANT)

    def data(self, values: Any, dtype: str) -> Any:
        """Return signals of the shape of `values` that are all live."""
        return self.source(tf.ones(tf.shape(values), dtype))

    def clean(self, values: Any) -> Any:
        """Return signals in which dead units are 0."""
        return self._signal(values, is_live(values), 0.0)

    def emit(self, values: Any) -> Any:
        """Return signals in which dead units are a constant; integers are kept."""
        values = tf.convert_to_tensor(values)
        if not values.dtype.is_floating:
            return values
        return self._signal(values, is_live(values), _CONSTANT)

    def _signal(self, values: Any, live: Any, constant: float) -> Any:
        noise = self._noise(values)

        @tf.custom_gradient
        def signal(values: Any) -> tuple[Any, Callable[[Any], Any]]:
            def gradient(upstream: Any) -> Any:
                return tf.where(upstream != 0, noise, tf.zeros_like(noise))

            dead = tf.fill(tf.shape(noise), tf.cast(constant, noise.dtype))
            return tf.where(live, noise, dead), gradient

        return signal(values)

    def _noise(self, values: Any) -> Any:
        """Return numbers in [0.5, 1) for the first example, [1.5, 2) for others."""
        self._calls += 1
        shape = tf.shape(values)
        uniform = tf.random.stateless_uniform(shape, seed=[self._stream, self._calls])
        first = tf.range(tf.size(values)) < tf.size(values[:1])
        offset = tf.where(tf.reshape(first, shape), 0.5, 1.5)
        # Less than 1, for rounding to the next number must not meet the other range.
        return tf.cast(offset + 0.49 * uniform, values.dtype)


def is_live(values: Any) -> Any:
    """Return which units differ between examples, by more than rounding.

    Example:
        >>> is_live(tf.constant([[1.0, 2.0], [1.0, 3.0]])).numpy().tolist()
        [[False, True]]
    """
    first = values[:1]
    size = tf.maximum(tf.abs(values), tf.abs(first))
    rounding = size * tf.cast(_ROUNDING_STEPS * _epsilon(values.dtype), values.dtype)
    # Negated, so that what is not a number counts as different.
    different = tf.logical_not(tf.abs(values - first) <= rounding)
    return tf.reduce_any(different, axis=0, keepdims=True)


def _epsilon(dtype: tf.DType) -> float:
    # NumPy does not know bfloat16, which has eight bits.
    return 2.0**-7 if dtype == tf.bfloat16 else np.finfo(dtype.as_numpy_dtype).eps
