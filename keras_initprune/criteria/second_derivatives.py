"""Layers whose second derivatives are right, for as long as a loss is scored."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_initprune import backend
from keras_initprune.paths.substitutes import replaced


@contextlib.contextmanager
def twice_differentiable(model: keras.Model) -> Iterator[None]:
    """Let gradients pass where TensorFlow or Keras stop those of second order.

    `tf.nn.moments` takes the mean within the variance as a constant, and
    `SpectralNormalization` its singular vectors. What that leaves out of a gradient is
    nothing (of a singular vector, once it has converged), but it is not nothing in the
    gradient of a gradient. Bilinear interpolation has no gradient of its gradient, and
    that of `UnitNormalization` is NaN at 0. What a layer holds constant by definition,
    as the corrections of batch renormalisation, stays so.

    `tf.nn.moments` is exchanged while any thread is here, and works as ever in the
    others; moments are computed in float64 and rounded once. Spectral and unit
    normalisation and interpolation are exchanged in the layers, which other threads
    see, but it changes no outputs.
    """
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers(include_self=False):
            for name, value in _substitutes(layer).items():
                stack.enter_context(replaced(layer, name, value))
        stack.enter_context(backend.own_moments())
        yield


def _substitutes(layer: keras.Layer) -> dict[str, Callable[..., Any]]:
    """Return what to put in place of a layer's attributes."""
    if isinstance(layer, keras.layers.SpectralNormalization):
        return {"normalized_weights": _normalized_weights(layer)}
    if isinstance(layer, keras.layers.UnitNormalization):
        return {"call": _unit_normalisation(layer)}
    if isinstance(layer, keras.layers.UpSampling2D):
        return {"call": backend.linear(layer.call)}
    return {}


def _normalized_weights(
    layer: keras.layers.SpectralNormalization,
) -> Callable[[], tuple[Any, Any]]:
    def normalized_weights() -> tuple[Any, Any]:
        matrix = ops.reshape(layer.kernel, [-1, layer.kernel.shape[-1]])
        right = layer.vector_u.value
        for _ in range(layer.power_iterations):
            left = ops.normalize(ops.matmul(right, ops.transpose(matrix)), None)
            right = ops.normalize(ops.matmul(left, matrix), None)
        largest = ops.matmul(ops.matmul(left, matrix), ops.transpose(right))
        return right, ops.reshape(matrix / largest, layer.kernel.shape)

    return normalized_weights


def _unit_normalisation(layer: keras.layers.UnitNormalization) -> Callable[..., Any]:
    def call(inputs: Any, **kwargs: Any) -> Any:
        squares = ops.sum(ops.square(inputs), layer.axis, keepdims=True)
        # The same factors as Keras', whose own are infinite at 0 on their way.
        is_zero = squares < 1e-24
        factors = ops.rsqrt(ops.where(is_zero, ops.ones_like(squares), squares))
        return inputs * ops.where(is_zero, 1e12, factors)

    return call
