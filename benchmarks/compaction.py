"""What compaction takes out of trained networks, and what prediction gains by it."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from benchmarks.sizes import Sizes
from keras_initprune import constraints
from keras_initprune.deploy import compaction
from keras_initprune.lab.datasets import load
from keras_initprune.lab.measurement import Measurement, paired, single
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.configuration import configure

BATCH_SIZE = 256
NETWORKS = ("perceptron", "convnet", "autoencoder")


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Compact networks that dissipating gradients pruned, trained on the digits.

    Yields:
        Parameters and the time of a prediction as ratios to the same network before.
    """
    data = load("digits")
    for name in NETWORKS:
        for sparsity in sizes.small_sparsities:
            yield from _compare(_trained(name, sparsity, data), name, sparsity, sizes)


def _trained(name: str, sparsity: float, data: Any) -> keras.Model:
    run = configure("digits", name, "dissipating_gradients", sparsity=sparsity, seed=0)
    return runner.train(run, data).model


def _compare(
    model: keras.Model, name: str, sparsity: float, sizes: Sizes
) -> Iterator[Measurement]:
    constraints.remove_masks(model)
    found = compaction.compaction_report(model)
    label = f"{name}, {sparsity:.0%} sparse, compacted"
    counts = {"before": found.parameters_before, "after": found.parameters_after}
    yield single(
        f"{label}: parameters",
        "before",
        found.parameters_after / found.parameters_before,
        details=counts,
    )
    images = tf.random.stateless_uniform((BATCH_SIZE, *model.input_shape[1:]), (0, 0))
    yield paired(
        f"{label}: prediction, batch {BATCH_SIZE}",
        "before",
        (predicts(compaction.compact(model), images), predicts(model, images)),
        sizes.pairs,
    )


def predicts(model: keras.Model, images: Any, count: int = 20) -> Callable[[], Any]:
    """Return what predicts a batch so many times."""
    function = tf.function(
        lambda x: model(x, training=False), jit_compile=False, autograph=False
    )
    compiled = function.get_concrete_function(images)

    def predict() -> None:
        for _ in range(count):
            compiled(images)

    return predict
