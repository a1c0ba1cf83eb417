"""Keeps an assembled CSR matrix between predictions.

TensorFlow's CSR matrix is a variant tensor: it cannot be a saved variable, and to
assemble it from its values takes longer than to multiply with it. Between predictions
the values seldom change, so it is kept in a table of the process, under a fingerprint
of the values that it was made of. Whichever way they change - a training step,
`set_weights`, a restored checkpoint - the next prediction sees it. Whoever moves the
same values to other places has to `forget` the matrix.

The table is named in the graph and not captured by it. So it works in every graph, also
in one that a SavedModel brings to another process: there it is made when it is first
needed.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

Assemble = Callable[[tf.Tensor, tf.Tensor, tuple[int, int]], tf.Tensor]


def is_worthwhile() -> bool:
    """Tell whether matrices are to be kept.

    Only on CPUs: elsewhere the fingerprint would move the values to the host.
    """
    return not tf.config.list_logical_devices("GPU")


def cached_matrix(
    assemble: Assemble,
    values: tf.Tensor,
    indices: tf.Tensor,
    shape: tuple[int, int],
    name: str,
) -> tf.Tensor:
    """Return a CSR matrix, assembled anew only if its values have changed."""
    table = _table(name)
    fingerprint = tf.bitcast(
        tf.raw_ops.Fingerprint(data=tf.reshape(values, [1, -1]), method="farmhash64"),
        tf.int64,
    )
    found = tf.raw_ops.LookupTableFindV2(
        table_handle=table, keys=fingerprint, default_value=tf.raw_ops.OptionalNone()
    )
    kept = tf.reshape(found, [])

    def keep() -> tf.Tensor:
        [matrix] = tf.raw_ops.OptionalGetValue(
            optional=kept, output_types=[tf.variant], output_shapes=[[]]
        )
        return matrix

    def renew() -> tf.Tensor:
        matrix = assemble(values, indices, shape)
        entry = tf.raw_ops.OptionalFromValue(components=[matrix])
        # Whatever else the table holds goes, in one step with what comes.
        tf.raw_ops.LookupTableImportV2(
            table_handle=table, keys=fingerprint, values=tf.reshape(entry, [1])
        )
        return matrix

    matrix = tf.cond(tf.raw_ops.OptionalHasValue(optional=kept), keep, renew)
    return typed(matrix, assemble, shape, values.dtype)


def forget(name: str) -> None:
    """Free a kept matrix, if there is one."""
    # Whenever the garbage collector calls, it may be while a graph is being built: what
    # added to that graph would wait for a lock that this thread holds already.
    with context.eager_mode():
        tf.raw_ops.DestroyResourceOp(resource=_table(name), ignore_lookup_error=True)


def typed(
    matrix: tf.Tensor, assemble: Assemble, shape: tuple[int, int], dtype: Any
) -> tf.Tensor:
    """Tell a graph what is inside a variant that comes from outside or from a branch.

    TensorFlow infers it only from operations. What it knows of one element of a stack
    it knows of all, so it stacks the matrix on an empty one.
    """
    if tf.executing_eagerly():
        return matrix
    empty = assemble(tf.zeros([0], dtype), tf.zeros([0, 2], tf.int64), shape)
    return tf.stack([empty, matrix])[1]


def _table(name: str) -> tf.Tensor:
    return tf.raw_ops.MutableHashTableV2(
        key_dtype=tf.int64, value_dtype=tf.variant, shared_name=name
    )
