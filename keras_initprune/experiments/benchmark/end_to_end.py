"""Training that goes sparse after selection, against dense training, as a whole."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_initprune.callbacks import DissipatingGradients
from keras_initprune.experiments.benchmark.measurement import Measurement, single
from keras_initprune.experiments.benchmark.networks import (
    BATCH_SIZE,
    IMAGE_SHAPE,
    wide_perceptron,
)
from keras_initprune.experiments.benchmark.sizes import Sizes
from keras_initprune.sparse_training import fit_sparse

SPARSITY = 0.98
CLASSES = 10


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Train the widest perceptron both ways on the same synthetic images.

    Args:
        sizes: How much to measure.

    Yields:
        How many times faster the whole training is, and both accuracies on images that
        neither has seen.
    """
    width = sizes.widths[-1]
    data, validation = _images(sizes.images, seed=0), _images(2000, seed=1)
    arguments: dict[str, Any] = {
        "epochs": sizes.epochs,
        "batch_size": BATCH_SIZE,
        "verbose": 0,
    }
    dense = wide_perceptron(width, 0)
    begin = time.perf_counter()
    dense.fit(*data, **arguments)
    seconds = [time.perf_counter() - begin]
    model = wide_perceptron(width, 0)
    pruning = DissipatingGradients(sparsity=SPARSITY, epochs=2)
    begin = time.perf_counter()
    sparse, _ = fit_sparse(model, *data, callbacks=[pruning], **arguments)
    seconds.append(time.perf_counter() - begin)
    accuracy = [
        float(np.mean(m.predict(validation[0], verbose=0).argmax(-1) == validation[1]))
        for m in (dense, sparse)
    ]
    yield single(
        f"dense training, 784-{width}-{width}-10, {sizes.epochs} epochs",
        f"training that goes {100 * SPARSITY:g} % sparse after 2 epochs",
        seconds[0] / seconds[1],
        details={"seconds": seconds, "accuracy": accuracy},
    )


def _images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images of ten prototypes, alike for every seed."""
    prototypes = np.random.default_rng(0).normal(size=(CLASSES, *IMAGE_SHAPE))
    generator = np.random.default_rng([seed, 1])
    labels = generator.integers(0, CLASSES, count, np.int32)
    noise = generator.normal(size=(count, *IMAGE_SHAPE), scale=6.0)
    return (prototypes[labels] + noise).astype(np.float32), labels
