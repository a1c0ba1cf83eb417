"""What masks and gathered gradients add to a training step."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from benchmarks.sizes import Sizes
from keras_initprune import callbacks, constraints
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.gradients import sums
from keras_initprune.lab import models
from keras_initprune.lab.datasets import pipeline
from keras_initprune.lab.measurement import Measurement, paired

BATCH_SIZE = 100
IMAGE_SHAPE = (28, 28, 1)


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time training steps with masks and with gathered gradients.

    Args:
        sizes: How much to measure.

    Yields:
        Ratios to a dense step of the same perceptron.
    """
    data = _random_images(sizes.steps)
    dense, masked, gathering = _perceptron(), _perceptron(), _perceptron()
    pruning = callbacks.KStarts(k=4, sparsity=0.95, epochs=1, seed=0)
    masked.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[pruning])
    constraints.install_masks(gathering)
    recorder = sums.GradientRecorder(gathering, prunable_weights(gathering))
    recorder.start()

    def trains(model: keras.Model) -> Callable[[], Any]:
        return lambda: model.fit(data, verbose=0, shuffle=False)

    yield paired(
        "a step after selection, masks at 95 %",
        "a dense step",
        (trains(masked), trains(dense)),
        sizes.pairs,
        at_most=1.03,
    )
    yield paired(
        "a step that gathers gradients",
        "a dense step",
        (trains(gathering), trains(dense)),
        sizes.pairs,
        at_most=1.25,
    )
    recorder.stop()


def _perceptron() -> keras.Model:
    model = models.get("perceptron")(input_shape=IMAGE_SHAPE, seed=0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _random_images(steps: int) -> Any:
    generator = np.random.default_rng(0)
    images = generator.random((steps * BATCH_SIZE, *IMAGE_SHAPE), np.float32)
    labels = generator.integers(0, 10, len(images), np.int32)
    return pipeline(images, labels, BATCH_SIZE)
