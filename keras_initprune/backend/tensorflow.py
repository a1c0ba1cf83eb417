"""TensorFlow: tapes, traced functions, replicas, and derivatives that it lacks."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from tensorflow.python.ops import nn_impl

__all__ = [
    "across_replicas",
    "compiled",
    "functions_run_eagerly",
    "is_masked",
    "linear",
    "masked",
    "own_moments",
    "value_and_gradients",
]

_MASKED = "_initprune_masked"
_TF_MOMENTS = nn_impl.moments
_lock = threading.Lock()
_users = 0
_thread = threading.local()


def value_and_gradients(
    function: Callable[[dict[str, Any]], tuple[Any, Any]], values: Mapping[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return what a function returns, a scalar and a rest, and the scalar's gradient.

    Tensors and gradients go by names. Gradients are zeros where the scalar does not
    depend on a tensor, and can be differentiated again.
    """
    values = dict(values)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(values.values()))
        total, rest = function(values)
    gradients = tape.gradient(
        total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    # Those of a look-up are sparse.
    dense = {name: tf.convert_to_tensor(g) for name, g in gradients.items()}
    return total, rest, dense


def masked(mask: keras.Variable, value: Any) -> Any:
    """Return a value with zeros where a mask removes it, and remember by which."""
    condition, value = ops.convert_to_tensor(mask), ops.convert_to_tensor(value)
    # Not a product: zero times infinity would be NaN. `tf.where` also broadcasts, for
    # which it takes twice as long.
    result = tf.raw_ops.Select(condition=condition, x=value, y=tf.zeros_like(value))
    if not tf.executing_eagerly():
        setattr(result, _MASKED, (id(mask), mask.times_written))
    return result


def is_masked(mask: keras.Variable, value: Any) -> bool:
    """Return whether a value is known to come from `masked`, with the same mask.

    A traced step runs as it is, so that masking twice would take twice as long.
    """
    return getattr(value, _MASKED, None) == (id(mask), mask.times_written)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function traced, as `fit` traces its step."""
    # As in `fit`, Python's own `if` and `for` are not converted.
    return tf.function(function, reduce_retracing=True, autograph=False)


@contextlib.contextmanager
def functions_run_eagerly(wanted: bool) -> Iterator[None]:
    """Have functions under `tf.function` run eagerly, or not, for a while."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(wanted)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def across_replicas(gradients: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the gradients of the global batch, and those to go on with.

    The second list is the gradients as they came, but no replica goes on with them
    before its share of the sums is done: replicas that run their reductions in
    different orders wait for each other for ever.
    """
    # Embeddings have sparse gradients, in which an index may occur twice.
    whole = [g if g is None else tf.convert_to_tensor(g) for g in gradients]
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        present = [g for g in whole if g is not None]
        sums = iter(replica.all_reduce(tf.distribute.ReduceOp.SUM, present))
        whole = [g if g is None else next(sums) for g in whole]
        with tf.control_dependencies([g for g in whole if g is not None]):
            gradients = [g if g is None else tf.identity(g) for g in gradients]
    return whole, gradients


@contextlib.contextmanager
def own_moments() -> Iterator[None]:
    """Let moments be differentiated twice, for a while and in this thread.

    `tf.nn.moments` takes the mean within the variance as a constant. It is exchanged
    while any thread is here, and works as ever in the others; moments are computed in
    float64 and rounded once.
    """
    global _users
    before = getattr(_thread, "is_scoring", False)
    with _lock:
        _users += 1
        nn_impl.moments = _moments
    _thread.is_scoring = True
    try:
        yield
    finally:
        _thread.is_scoring = before
        with _lock:
            _users -= 1
            if not _users:
                nn_impl.moments = _TF_MOMENTS


def _moments(
    x: Any,
    axes: Any,
    shift: Any = None,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Any, Any]:
    if not getattr(_thread, "is_scoring", False):
        return _TF_MOMENTS(x, axes, shift, name, keep_dims, keepdims)
    wide = tf.cast(x, tf.float64)
    mean = tf.reduce_mean(wide, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axes, True)
    if not (keep_dims or keepdims):
        mean, variance = tf.squeeze(mean, axes), tf.squeeze(variance, axes)
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def linear(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a linear function that can be differentiated as often as one likes."""

    @tf.custom_gradient
    def apply(inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
        @tf.custom_gradient
        def transposed(upstream: Any) -> tuple[Any, Callable[[Any], Any]]:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = function(inputs)
            return tape.gradient(outputs, inputs, upstream), apply

        return function(inputs), transposed

    return lambda inputs: apply(tf.convert_to_tensor(inputs))
