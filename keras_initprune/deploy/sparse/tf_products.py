"""The products of a dense matrix with a sparse kernel in TensorFlow, both ways.

The kernel is held transposed, in compressed sparse rows (CSR): one row per output unit.
Its values change with every training step, its pattern never.

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

import os
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

# TensorFlow multiplies CSR matrices with oneDNN's kernels when it runs eagerly; in
# graphs it needs to be told, before the first such product. They take a quarter of the
# time.
os.environ.setdefault("TF_ENABLE_ONEDNN_SPMM", "1")

# Below this density gathering the columns of both factors beats sampling from dense
# blocks of their product.
_GATHER_DENSITY = 0.015
# Rows of a dense block: with a few thousand inputs it fits a core's cache.
_BLOCK_ROWS = 128
# Weights whose columns are gathered at once, for the same reason.
_CHUNK = 4096
# Loops are unrolled into the graph, so longer ones have larger steps.
_MOST_STEPS = 64


def matrix_product(
    inputs: tf.Tensor,
    values: tf.Tensor,
    indices: tf.Tensor,
    shape: tuple[int, int],
    cache: str | None = None,
) -> tf.Tensor:
    """Multiply a sparse kernel with a dense matrix whose columns are the examples.

    The batch comes last because oneDNN's kernel takes no transposes, and so that the
    layer can leave it there until after its activation.

    TensorFlow's own gradient of the product gathers both factors for every weight. This
    one takes whichever way is faster at the kernel's density, block by block.

    Args:
        inputs: Dense matrix of shape `(inputs, batch)`.
        values: The kernel's non-zeros, of shape `(nonzeros,)`.
        indices: Their positions in the transposed kernel, of shape `(nonzeros, 2)` and
            type int64: output unit and input, sorted.
        shape: Shape of the transposed kernel: `(units, inputs)`.
        cache: Name under which the assembled matrix is kept between calls. Defaults to
            assembling it anew.

    Returns:
        Dense matrix of shape `(units, batch)`.

    Example:
        >>> inputs = tf.constant([[1.0], [2.0]])
        >>> product = matrix_product(
        ...     inputs, tf.constant([3.0]), tf.constant([[1, 0]], tf.int64), (2, 2)
        ... )
        >>> product.numpy().tolist()
        [[0.0], [3.0]]
    """
    if cache is None:
        matrix = sparse_matrix(values, indices, shape)
    else:
        matrix = _cached_matrix(values, indices, shape, cache)

    @tf.custom_gradient
    def product(inputs: tf.Tensor, values: tf.Tensor, matrix: tf.Tensor) -> Any:
        outputs = multiply(matrix, inputs)

        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            # A saved gradient cannot refer to the matrix of the forward pass. Within
            # one graph TensorFlow sees that the two are the same. To assemble the other
            # orientation would take as long as this slower kernel loses.
            again = sparse_matrix(values, indices, shape)
            back = multiply(again, upstream, transpose_a=True)
            return back, sampled_product(inputs, upstream, indices, shape), None

        return outputs, gradients

    return product(inputs, values, matrix)


def sparse_matrix(
    values: tf.Tensor, indices: tf.Tensor, shape: tuple[int, int]
) -> tf.Tensor:
    """Return TensorFlow's CSR matrix with these non-zeros, a variant tensor."""
    return tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=indices, values=values, dense_shape=tf.constant(shape, tf.int64)
    )


def multiply(
    matrix: tf.Tensor, dense: tf.Tensor, transpose_a: bool = False
) -> tf.Tensor:
    """Multiply a CSR matrix, or its transpose, with a dense one; without a gradient."""
    return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=dense, transpose_a=transpose_a)


def sampled_product(
    inputs: tf.Tensor, upstream: tf.Tensor, indices: tf.Tensor, shape: tuple[int, int]
) -> tf.Tensor:
    """Return the entries of `upstream @ transpose(inputs)` at the kernel's non-zeros.

    That is the gradient of the loss by the kept weights: for unit i and input j the sum
    over the batch of `upstream[i, b] * inputs[j, b]`. What would be the gradients of
    all weights is never in memory at once.

    Args:
        inputs: Matrix of shape `(inputs, batch)`.
        upstream: Gradient by the outputs, of shape `(units, batch)`.
        indices: Positions of the non-zeros, see `matrix_product`.
        shape: Shape of the transposed kernel: `(units, inputs)`.

    Returns:
        Vector of shape `(nonzeros,)`.

    Example:
        >>> factors = tf.constant([[1.0], [2.0]]), tf.constant([[10.0], [20.0]])
        >>> positions = tf.constant([[0, 1], [1, 0]], tf.int64)
        >>> sampled_product(*factors, positions, (2, 2)).numpy().tolist()
        [20.0, 20.0]
    """
    density = int(indices.shape[0]) / (shape[0] * shape[1])
    if density < _GATHER_DENSITY:
        return _gathered(inputs, upstream, indices)
    return _sampled_from_blocks(inputs, upstream, indices, shape)


def _gathered(inputs: tf.Tensor, upstream: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    parts = []
    for begin, end in _steps(int(indices.shape[0]), _CHUNK):
        ours = indices[begin:end]
        pairs = tf.gather(inputs, ours[:, 1]) * tf.gather(upstream, ours[:, 0])
        parts.append(tf.reduce_sum(pairs, axis=1))
    return tf.concat(parts, axis=0)


def _sampled_from_blocks(
    inputs: tf.Tensor, upstream: tf.Tensor, indices: tf.Tensor, shape: tuple[int, int]
) -> tf.Tensor:
    blocks = _steps(shape[0], _BLOCK_ROWS)
    bounds = tf.constant([begin for begin, _ in blocks] + [shape[0]], tf.int64)
    splits = tf.searchsorted(indices[:, 0], bounds)
    parts = []
    for number, (begin, end) in enumerate(blocks):
        block = tf.matmul(upstream[begin:end], inputs, transpose_b=True)
        ours = indices[splits[number] : splits[number + 1]]
        flat = (ours[:, 0] - begin) * shape[1] + ours[:, 1]
        parts.append(tf.gather(tf.reshape(block, [-1]), flat))
    return tf.ensure_shape(tf.concat(parts, axis=0), [indices.shape[0]])


def _steps(length: int, step: int) -> list[tuple[int, int]]:
    step = max(step, -(-length // _MOST_STEPS))
    return [
        (begin, min(begin + step, length)) for begin in range(0, max(length, 1), step)
    ]


def keeps_matrices() -> bool:
    """Tell whether matrices are to be kept.

    Only on CPUs: elsewhere the fingerprint would move the values to the host.
    """
    return not tf.config.list_logical_devices("GPU")


def _cached_matrix(
    values: tf.Tensor, indices: tf.Tensor, shape: tuple[int, int], name: str
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
        matrix = sparse_matrix(values, indices, shape)
        entry = tf.raw_ops.OptionalFromValue(components=[matrix])
        # Whatever else the table holds goes, in one step with what comes.
        tf.raw_ops.LookupTableImportV2(
            table_handle=table, keys=fingerprint, values=tf.reshape(entry, [1])
        )
        return matrix

    matrix = tf.cond(tf.raw_ops.OptionalHasValue(optional=kept), keep, renew)
    return typed(matrix, shape, values.dtype)


def forget(name: str) -> None:
    """Free a kept matrix, if there is one."""
    # Whenever the garbage collector calls, it may be while a graph is being built: what
    # added to that graph would wait for a lock that this thread holds already.
    with context.eager_mode():
        tf.raw_ops.DestroyResourceOp(resource=_table(name), ignore_lookup_error=True)


def typed(matrix: tf.Tensor, shape: tuple[int, int], dtype: Any) -> tf.Tensor:
    """Tell a graph what is inside a variant that comes from outside or from a branch.

    TensorFlow infers it only from operations. What it knows of one element of a stack
    it knows of all, so it stacks the matrix on an empty one.
    """
    if tf.executing_eagerly():
        return matrix
    empty = sparse_matrix(tf.zeros([0], dtype), tf.zeros([0, 2], tf.int64), shape)
    return tf.stack([empty, matrix])[1]


def _table(name: str) -> tf.Tensor:
    return tf.raw_ops.MutableHashTableV2(
        key_dtype=tf.int64, value_dtype=tf.variant, shared_name=name
    )
