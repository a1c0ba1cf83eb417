"""What masks and gathered gradients add to a training step."""

from collections.abc import Callable, Iterator
from typing import Any

import keras

from benchmarks.networks import perceptron, random_images
from benchmarks.sizes import Sizes
from keras_initprune import KStarts, constraints
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.gradients import GradientRecorder
from keras_initprune.lab.datasets import pipeline
from keras_initprune.lab.measurement import Measurement, paired

BATCH_SIZE = 100


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time training steps with masks and with gathered gradients.

    Yields:
        Ratios to a dense step of the same perceptron.
    """
    data = pipeline(*random_images(sizes.steps, BATCH_SIZE), BATCH_SIZE)
    dense, masked, gathering = (perceptron() for _ in range(3))
    pruning = KStarts(k=4, sparsity=0.95, epochs=1, seed=0)
    masked.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[pruning])
    constraints.install_masks(gathering)
    recorder = GradientRecorder(gathering, prunable_weights(gathering))
    recorder.start()

    def trains(model: keras.Model) -> Callable[[], Any]:
        return lambda: model.fit(data, verbose=0, shuffle=False)

    for name, model, at_most in (
        ("a step after selection, masks at 95 %", masked, 1.03),
        ("a step that gathers gradients", gathering, 1.25),
    ):
        sides = trains(model), trains(dense)
        yield paired(name, "a dense step", sides, sizes.pairs, at_most=at_most)
    recorder.stop()
