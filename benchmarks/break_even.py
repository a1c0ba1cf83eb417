"""From which size on a sparse kernel pays: what the rule of `to_sparse` rests on."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.networks import BATCH_SIZE
from benchmarks.sizes import Sizes
from keras_initprune.deploy.sparse.conversion import to_sparse
from keras_initprune.lab.measurement import Measurement, paired

# Units of the sparse layer that others are behind.
WIDTH = 1024
# One call takes as long as many of these products, so it makes many.
STEPS = 16


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time predictions of small kernels, dense and sparse.

    Yields:
        How many times faster the sparse one is: alone, and where a sparse layer has
        computed its inputs, as part of both layers.
    """
    for sparsity in sizes.sparsities:
        percent = f"{100 * sparsity:g} %"
        for width in sizes.small_widths:
            model = _model((width, width), sparsity)
            sparse = to_sparse(model, threshold=0, smallest=1)
            name = f"{width} x {width} at {percent}"
            yield _compared(name, "sparse", model, sparse, sizes)
        for units in sizes.outputs:
            model = _model((WIDTH, WIDTH, units), sparsity)
            first = model.layers[0].name
            dense = to_sparse(model, layers=first, threshold=0, smallest=1)
            sparse = to_sparse(model, threshold=0, smallest=1)
            name = f"{WIDTH} x {units} at {percent}, behind a sparse {WIDTH} x {WIDTH}"
            yield _compared(name, "sparse", dense, sparse, sizes)


def _model(sizes: tuple[int, ...], sparsity: float) -> keras.Model:
    layers = [keras.layers.Dense(units, "relu") for units in sizes[1:]]
    model = keras.Sequential([keras.Input((sizes[0],)), *layers])
    generator = np.random.default_rng(0)
    for layer in layers:
        kept = generator.random(layer.kernel.shape) >= sparsity
        layer.kernel.assign(layer.kernel * kept)
    model.compile(jit_compile=False, steps_per_execution=STEPS)
    return model


def _compared(
    name: str, unit: str, dense: keras.Model, sparse: keras.Model, sizes: Sizes
) -> Measurement:
    sides = _predicts(dense), _predicts(sparse)
    return paired(f"dense {name}", unit, sides, 2 * sizes.pairs)


def _predicts(model: keras.Model) -> Callable[[], Any]:
    images = np.random.default_rng(0).random((BATCH_SIZE, model.input_shape[1]))
    batches = [(tf.constant(images, tf.float32),)] * STEPS
    model.make_predict_function()
    return lambda: [model.predict_function(batches) for _ in range(4)]
