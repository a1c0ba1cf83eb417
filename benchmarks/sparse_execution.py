"""What sparse layers save: predictions, training steps and memory."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from benchmarks.compaction import predicts
from benchmarks.networks import random_images, wide_perceptron
from benchmarks.sizes import Sizes
from keras_initprune.deploy.sparse import tf_products
from keras_initprune.deploy.sparse.conversion import to_sparse
from keras_initprune.deploy.sparse.layer import SparseDense
from keras_initprune.lab.measurement import Measurement, paired, single

# Batches that `predict` takes in one call.
STEPS = 16

# What the project asks for, by width and sparsity.
_PREDICTION_GOALS = {
    (1024, 0.9): 3.0,
    (1024, 0.95): 5.0,
    (1024, 0.98): 10.0,
    (4096, 0.9): 3.0,
    (4096, 0.95): 6.0,
    (4096, 0.98): 12.0,
}
_TRAINING_GOALS = {(4096, 0.95): 1.5, (4096, 0.98): 3.0}


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time dense against sparse perceptrons of several widths.

    Predictions go through the function that `predict` calls, 16 batches in one call on
    both sides (`steps_per_execution`), so that the price of a call does not hide the
    product's; and through a `tf.function`, one batch in one call, as they would be
    served. Training steps go through the function of `fit`. All are without XLA. The
    fewest TensorFlow operations that compute the sparse model show what its products
    leave to be gained.

    Yields:
        How many times faster the sparse model is, and how many times less memory its
        weights and optimizer take.
    """
    for width in sizes.widths:
        for sparsity in sizes.sparsities:
            yield from _compare(width, sparsity, sizes)


def _compare(width: int, sparsity: float, sizes: Sizes) -> Iterator[Measurement]:
    count = max(1, sizes.batches * sizes.widths[0] ** 2 // width**2)
    masked = wide_perceptron(width, sparsity, STEPS)
    sparse, dense = to_sparse(masked), wide_perceptron(width, 0, STEPS)
    name = f"784-{width}-{width}-10 at {100 * sparsity:g} %"
    steps = {"steps_per_execution": STEPS}
    bare = "bare TensorFlow operations"
    for what, unit, of_dense, of_sparse, goals, more in (
        ("prediction", "sparse", _predicts, _predicts, _PREDICTION_GOALS, steps),
        ("prediction", bare, _predicts, _predicts_barely, {}, {}),
        ("tf.function", "sparse", _serves, _serves, {}, {}),
        ("training step", "sparse", _trains, _trains, _TRAINING_GOALS, {}),
    ):
        yield paired(
            f"dense {what}, {name}",
            unit,
            (of_dense(dense, count), of_sparse(sparse, count)),
            sizes.pairs,
            at_least=goals.get((width, sparsity)),
            details={"calls": count, **more},
        )
    held = {
        kind: _bytes(model) for kind, model in (("dense", dense), ("sparse", sparse))
    }
    yield single(
        f"dense weights and optimizer, {name}",
        "sparse",
        held["dense"] / held["sparse"],
        details={"bytes": held},
    )


def _predicts(model: keras.Model, count: int) -> Callable[[], Any]:
    model.make_predict_function()
    return _repeats(
        lambda batches: model.predict_function([(batch,) for batch in batches]), count
    )


def _predicts_barely(model: keras.Model, count: int) -> Callable[[], Any]:
    return _repeats(bare_operations(model), count)


def _repeats(
    function: Callable[[list[tf.Tensor]], Any], count: int
) -> Callable[[], Any]:
    batches = [tf.constant(random_images(1)[0])] * STEPS

    def predict() -> None:
        for _ in range(max(1, count // STEPS)):
            function(batches)

    return predict


def bare_operations(
    model: keras.Model,
) -> Callable[[list[tf.Tensor]], list[tf.Tensor]]:
    """Return a function that predicts with products, biases and activations only.

    Neither Keras nor a look whether the kernels are still the same: a layer that
    multiplies with TensorFlow's matrices cannot be much faster.
    """
    layers = [layer for layer in model.layers if layer.weights]
    matrices = [_matrix(layer) for layer in layers]
    biases = [ops.expand_dims(layer.bias, 1) for layer in layers]

    # AutoGraph, which is not needed, warns of what Python 3.13 deprecates.
    @tf.function(jit_compile=False, autograph=False)
    def predict(batches: list[tf.Tensor], matrices: list[tf.Tensor]) -> list[tf.Tensor]:
        known = [_typed(*pair) for pair in zip(layers, matrices, strict=True)]
        outputs = []
        for images in batches:
            columns = tf.transpose(tf.reshape(images, [tf.shape(images)[0], -1]))
            for layer, matrix, bias in zip(layers, known, biases, strict=True):
                columns = layer.activation(_multiply(layer, matrix, columns) + bias)
            outputs.append(tf.transpose(columns))
        return outputs

    return lambda batches: predict(batches, matrices)


def _matrix(layer: keras.layers.Layer) -> tf.Tensor:
    if not isinstance(layer, SparseDense):
        return ops.convert_to_tensor(layer.kernel)
    shape = layer.units, layer.input_size
    values, indices = map(ops.convert_to_tensor, (layer.values, layer.indices))
    return tf_products.sparse_matrix(values, indices, shape)


def _typed(layer: keras.layers.Layer, matrix: tf.Tensor) -> tf.Tensor:
    if not isinstance(layer, SparseDense):
        return matrix
    shape = layer.units, layer.input_size
    return tf_products.typed(matrix, shape, layer.values.dtype)


def _multiply(
    layer: keras.layers.Layer, matrix: tf.Tensor, columns: tf.Tensor
) -> tf.Tensor:
    if isinstance(layer, SparseDense):
        return tf_products.multiply(matrix, columns)
    return tf.matmul(matrix, columns, transpose_a=True)


def _serves(model: keras.Model, count: int) -> Callable[[], Any]:
    return predicts(model, tf.constant(random_images(1)[0]), count)


def _trains(model: keras.Model, count: int) -> Callable[[], Any]:
    batch = tuple(map(tf.constant, random_images(1)))
    model.make_train_function()

    def train() -> None:
        for _ in range(count):
            model.train_function(iter([batch]))

    return train


def _bytes(model: keras.Model) -> int:
    """Return what a model in training holds between steps."""
    variables = {id(v): v for v in (*model.variables, *model.optimizer.variables)}
    return sum(
        int(np.prod(variable.shape)) * np.dtype(variable.dtype).itemsize
        for variable in variables.values()
    )
