"""Training that goes sparse after selection, against dense training, as a whole."""

from collections.abc import Iterator
from typing import Any

import keras

from benchmarks.sizes import Sizes
from keras_initprune import DissipatingGradients, fit_sparse
from keras_initprune.lab.datasets import Dataset, load
from keras_initprune.lab.measurement import Measurement, clock, spread
from keras_initprune.lab.models import perceptron

SPARSITY = 0.98
SELECTION_EPOCHS = 2
BATCH_SIZE = 64


class _Clock(keras.callbacks.Callback):
    """Notes when every epoch ended, and the accuracy on the validation split."""

    def __init__(self) -> None:
        super().__init__()
        self.now = clock()
        self.begin = self.now()
        self.seconds: list[float] = []
        self.accuracy: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds.append(self.now() - self.begin)
        self.accuracy.append((logs or {})["val_accuracy"])

    def reached(self, accuracy: float) -> float:
        """Return the seconds after which an accuracy was first there."""
        return next(
            seconds
            for seconds, mine in zip(self.seconds, self.accuracy, strict=True)
            if mine >= accuracy
        )


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Train perceptrons dense, and sparse from the moment of selection.

    Both begin with the same weights and see the same images. Times are of everything
    between the first call and the end of an epoch: tracing, selection, conversion and
    validation too.

    Yields:
        How many times faster the whole training is, and how many times sooner it is as
        accurate on the validation split as the less accurate of the two becomes.
    """
    data = load(sizes.dataset)
    for units in sizes.trained_units:
        yield from _compare(units, data, sizes)


def _compare(
    units: tuple[int, ...], data: Dataset, sizes: Sizes
) -> Iterator[Measurement]:
    runs = []
    for seed in range(sizes.trainings):
        kinds = ("dense", "sparse") if seed % 2 else ("sparse", "dense")
        runs.append({kind: _trained(kind, units, data, sizes, seed) for kind in kinds})
    totals = [run["dense"].seconds[-1] / run["sparse"].seconds[-1] for run in runs]
    sooner = []
    for run in runs:
        goal = min(max(clock.accuracy) for clock in run.values())
        sooner.append(run["dense"].reached(goal) / run["sparse"].reached(goal))
    name = (
        f"{sizes.epochs} epochs of {'-'.join(map(str, units))} on {sizes.images:,} "
        f"images of {sizes.dataset}"
    )
    unit = f"{100 * SPARSITY:g} % sparse after {SELECTION_EPOCHS}"
    details = {
        kind: [[run[kind].seconds, run[kind].accuracy] for run in runs]
        for kind in ("dense", "sparse")
    }
    yield spread(f"dense, {name}", unit, totals, details=details)
    yield spread(f"dense to the same accuracy, {name}", unit, sooner)


def _trained(
    kind: str, units: tuple[int, ...], data: Dataset, sizes: Sizes, seed: int
) -> _Clock:
    clock = _Clock()
    keras.utils.set_random_seed(seed)
    model = perceptron(input_shape=data.image_shape, hidden_units=units, seed=seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # XLA would take seconds to compile what trains for seconds.
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
    arguments: dict[str, Any] = {
        "x": data.x_train[: sizes.images],
        "y": data.y_train[: sizes.images],
        "validation_data": (data.x_validation, data.y_validation),
        "epochs": sizes.epochs,
        "batch_size": BATCH_SIZE,
        "verbose": 0,
    }
    if kind == "dense":
        model.fit(**arguments, callbacks=[clock])
    else:
        pruning = DissipatingGradients(sparsity=SPARSITY, epochs=SELECTION_EPOCHS)
        fit_sparse(model, **arguments, callbacks=[pruning, clock])
    return clock
