"""What an epoch costs in which masks change, beside one in which they do not."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from benchmarks.networks import perceptron, random_images
from benchmarks.sizes import Sizes
from keras_initprune import Combination, DissipatingGradients
from keras_initprune.lab.datasets import pipeline
from keras_initprune.lab.measurement import Measurement, clock, of_pairs

BATCH_SIZE = 100
# An epoch is as long as MNIST's, 600 batches, with the usual sizes of 200 steps.
LENGTH = 600 / 200
CASES: tuple[tuple[str, tuple[int, ...], Any, float], ...] = (
    ("784-300-100-10", (300, 100), DissipatingGradients, 1.15),
    ("784-300-100-10", (300, 100), Combination, 1.15),
    ("784-2048-2048-10", (2048, 2048), DissipatingGradients, 1.1),
)


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time epochs with ten changes of masks and epochs with final masks.

    A pair is of one `fit`: two epochs with changes and two with the masks that are
    left. The first of either two also traces the training step, so the second counts.

    Yields:
        Ratios to an epoch with final masks: of one with changes, and of the one after
        the last change, in which the step is traced anew if gradients were summed.
    """
    images = random_images(int(sizes.steps * LENGTH), BATCH_SIZE)
    data = pipeline(*images, BATCH_SIZE)
    for name, units, method, at_most in CASES:
        epochs = np.array(
            [_seconds(perceptron(units), data, method) for _ in range(sizes.pairs)]
        )
        _, changing, anew, final = epochs.T
        for what, seconds, goal in (
            ("an epoch of {} with ten changes, {}", changing, at_most),
            ("the first epoch after {}, tracing included, {}", anew, None),
        ):
            yield of_pairs(
                what.format(method.__name__, name),
                "an epoch with final masks",
                (seconds.tolist(), final.tolist()),
                at_most=goal,
            )


def _seconds(model: keras.Model, data: Any, method: Any) -> list[float]:
    """Return how long each epoch took of two with changes and two without."""
    watch = _Watch()
    model.fit(
        data,
        epochs=4,
        verbose=0,
        shuffle=False,
        callbacks=[method(sparsity=0.98, epochs=2), watch],
    )
    return watch.seconds


class _Watch(keras.callbacks.Callback):
    """Times epochs. Callbacks that change masks come earlier and are timed too."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._now = clock()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the time."""
        self._begin = self._now()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the time that the epoch took."""
        self.seconds.append(self._now() - self._begin)
