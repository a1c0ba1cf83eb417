"""What an epoch costs in which masks change, beside one in which they do not."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from benchmarks.networks import perceptron, random_images
from benchmarks.sizes import Sizes
from keras_initprune import callbacks, constraints
from keras_initprune.lab.datasets import pipeline
from keras_initprune.lab.measurement import Measurement, paired

BATCH_SIZE = 100
# Of the small network the epoch is as long as MNIST's with the usual sizes.
CASES = (("784-300-100-10", (300, 100), 550 / 200, 1.15),
         ("784-2048-2048-10", (2048, 2048), 1.0, 1.1))  # fmt: skip


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time epochs with ten removals and epochs with final masks.

    Yields:
        Ratios to an epoch of the same perceptron whose masks stay.
    """
    for name, units, length, at_most in CASES:
        examples = random_images(int(sizes.steps * length), BATCH_SIZE)
        data = pipeline(*examples, BATCH_SIZE)
        changing, final = (
            constraints.install_masks(perceptron(units)) for _ in range(2)
        )
        final.fit(data, verbose=0, callbacks=[_pruning()])
        dense = {p: np.ones_like(m) for p, m in constraints.get_masks(final).items()}

        yield paired(
            f"an epoch with ten removals, {name}",
            "an epoch with final masks",
            (
                functools.partial(_change, changing, data, dense),
                functools.partial(final.fit, data, verbose=0, shuffle=False),
            ),
            sizes.pairs,
            at_most=at_most,
        )


def _change(model: keras.Model, data: Any, dense: Mapping[str, np.ndarray]) -> None:
    constraints.set_masks(model, dense)
    model.fit(data, verbose=0, shuffle=False, callbacks=[_pruning()])


def _pruning() -> callbacks.DissipatingGradients:
    return callbacks.DissipatingGradients(0.98, epochs=1)
