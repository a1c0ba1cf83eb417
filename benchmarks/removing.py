"""What an epoch costs in which masks change, beside one in which they do not."""

import functools
from collections.abc import Callable, Iterator, Mapping
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
CASES = (
    ("784-300-100-10", (300, 100), 550 / 200, callbacks.DissipatingGradients, 1.15),
    ("784-300-100-10", (300, 100), 550 / 200, callbacks.Combination, 1.15),
    ("784-2048-2048-10", (2048, 2048), 1.0, callbacks.DissipatingGradients, 1.1),
)


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time epochs with ten changes of masks and epochs with final masks.

    Yields:
        Ratios to an epoch of the same perceptron whose masks stay.
    """
    for name, units, length, method, at_most in CASES:
        examples = random_images(int(sizes.steps * length), BATCH_SIZE)
        data = pipeline(*examples, BATCH_SIZE)
        changing, final = (
            constraints.install_masks(perceptron(units)) for _ in range(2)
        )
        pruning = functools.partial(method, sparsity=0.98, epochs=1)
        final.fit(data, verbose=0, callbacks=[pruning()])
        dense = {p: np.ones_like(m) for p, m in constraints.get_masks(final).items()}

        yield paired(
            f"an epoch of {method.__name__} with ten changes, {name}",
            "an epoch with final masks",
            (
                functools.partial(_change, changing, data, dense, pruning),
                functools.partial(final.fit, data, verbose=0, shuffle=False),
            ),
            sizes.pairs,
            at_most=at_most,
        )


def _change(
    model: keras.Model,
    data: Any,
    dense: Mapping[str, np.ndarray],
    pruning: Callable[[], keras.callbacks.Callback],
) -> None:
    constraints.set_masks(model, dense)
    model.fit(data, verbose=0, shuffle=False, callbacks=[pruning()])
