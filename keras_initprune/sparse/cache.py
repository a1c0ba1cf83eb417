"""Keeps an assembled CSR matrix between predictions.

TensorFlow's CSR matrix is a variant tensor: it cannot be a saved variable, and to
assemble it from its values takes longer than to multiply with it. Between predictions
the values seldom change, so it is kept in a resource of the process, beside a
fingerprint of the values that it was made of. Whichever way they change - a training
step, `set_weights`, a restored checkpoint - the next prediction sees it.
"""

from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.ops import handle_data_util

Assemble = Callable[[tf.Tensor, tf.Tensor, tuple[int, int]], tf.Tensor]

# The names that Keras gives to the functions that `predict` compiles.
_PREDICTING = ("one_step_on_data_distributed", "multi_step_on_data")


def is_worthwhile() -> bool:
    """Tell whether a matrix may be kept where this is called.

    Only in eager code and in the function of Keras' own `predict`: any other graph may
    be on its way into a SavedModel, which could not load the resource. And only on
    CPUs: elsewhere the fingerprint would move the values to the host.
    """
    if tf.config.list_logical_devices("GPU"):
        return False
    if tf.executing_eagerly():
        return True
    return tf.compat.v1.get_default_graph().name.startswith(_PREDICTING)


def cached_matrix(
    assemble: Assemble,
    values: tf.Tensor,
    indices: tf.Tensor,
    shape: tuple[int, int],
    name: str,
) -> tf.Tensor:
    """Return a CSR matrix, assembled anew only if its values have changed.

    Args:
        assemble: Makes the matrix out of the next three arguments.
        values: The non-zeros.
        indices: Their positions.
        shape: Shape of the matrix.
        name: Identifies the kept matrix within the process.

    Returns:
        The matrix, a variant tensor.
    """
    with tf.init_scope():
        _initialise(name)
    kept, seen = _handles(name)
    fingerprint = tf.raw_ops.Fingerprint(
        data=tf.reshape(values, [1, -1]), method="farmhash64"
    )[0]

    def renew() -> tf.Tensor:
        matrix = assemble(values, indices, shape)
        stored = tf.raw_ops.AssignVariableOp(resource=kept, value=matrix)
        # Only once the matrix is there, whoever reads at the same time.
        with _after(stored):
            noted = tf.raw_ops.AssignVariableOp(resource=seen, value=fingerprint)
        with _after(noted):
            return tf.constant(True)

    last = tf.raw_ops.ReadVariableOp(resource=seen, dtype=tf.uint8)
    current = tf.reduce_all(last == fingerprint)
    with _after(tf.cond(current, lambda: tf.constant(True), renew)):
        matrix = tf.raw_ops.ReadVariableOp(resource=kept, dtype=tf.variant)
    if not tf.executing_eagerly():
        # A graph must know the shape inside the variant, as it does of a new matrix;
        # this one is never computed.
        handle_data_util.copy_handle_data(assemble(values, indices, shape), matrix)
    return matrix


def forget(name: str) -> None:
    """Free a kept matrix.

    Args:
        name: As given to `cached_matrix`.
    """
    for handle in _handles(name):
        tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True)


def _initialise(name: str) -> None:
    _, seen = _handles(name)
    if not tf.raw_ops.VarIsInitializedOp(resource=seen):
        tf.raw_ops.AssignVariableOp(resource=seen, value=tf.zeros([8], tf.uint8))


def _handles(name: str) -> tuple[tf.Tensor, tf.Tensor]:
    kept = tf.raw_ops.VarHandleOp(dtype=tf.variant, shape=[], shared_name=name)
    seen = tf.raw_ops.VarHandleOp(
        dtype=tf.uint8, shape=[8], shared_name=f"{name}/fingerprint"
    )
    return kept, seen


def _after(operation: tf.Tensor | tf.Operation | None) -> tf.control_dependencies:
    # Eager operations have run already and return None or a value.
    return tf.control_dependencies(
        [] if operation is None or tf.executing_eagerly() else [operation]
    )
