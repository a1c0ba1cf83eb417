"""The dense network that a search compares with, and how all of them are trained."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from keras_initprune.files import write_atomically
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.tuner import strategies

NAME = "dense.json"


def read(folder: Path) -> dict[str, Any]:
    """Return the metrics of the dense reference, which must have been trained."""
    return json.loads((folder / NAME).read_text(encoding="utf-8"))


def train(
    folder: Path,
    run: Configuration,
    data: Any,
    strategy: Any,
    check: Callable[[], None],
) -> dict[str, Any]:
    """Train the dense reference unless it is in the folder, and return its metrics.

    `check` is called after every step; what it raises ends the training.
    """
    if (folder / NAME).exists():
        return read(folder)
    started = time.perf_counter()
    with strategies.scope(strategy):
        keras.utils.set_random_seed(run.seed)
        model = build(run, data)
    checks = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: check()
    )
    history = model.fit(**fit_arguments(run, data), callbacks=[checks]).history
    metrics = {name: float(values[-1]) for name, values in history.items()}
    metrics.update(runner.evaluate(model, "test", data.x_test, data.y_test, run))
    metrics["seconds"] = time.perf_counter() - started
    text = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / NAME, text)
    return metrics


def build(run: Configuration, data: Any) -> keras.Model:
    """Return the compiled model of a run, for the strategy whose scope this is in."""
    model = runner.build(run, data)
    if model.distribute_strategy and model.distribute_strategy.num_replicas_in_sync > 1:
        model.steps_per_execution = 1  # See `strategies.check_model`.
    return model


class RunHyperModel(keras_tuner.HyperModel):
    """The hypermodel of a run, with nothing to search.

    Every trial begins with the same weights and sees the same batches in the same
    order, whatever came before it in its process.
    """

    def __init__(self, run: Configuration, data: Any):
        super().__init__()
        self.run = run
        self.data = data

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model."""
        return build(self.run, self.data)

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, **kwargs: Any
    ) -> keras.callbacks.History:
        """Train it on batches of its own."""
        return model.fit(**{**fit_arguments(self.run, self.data), **kwargs})


def fit_arguments(run: Configuration, data: Any) -> dict[str, Any]:
    """Return what `fit` is given, for the dense reference and in every trial.

    The order of the batches is the same each time that this is called after
    `keras.utils.set_random_seed` with the same seed.
    """
    size = runner.EVALUATION_BATCH_SIZE
    return {
        "x": runner.pipeline(run, data, "train", run.batch_size),
        "validation_data": runner.pipeline(run, data, "validation", size),
        "epochs": run.epochs,
        "shuffle": False,  # The pipeline shuffles.
        "verbose": 0,
    }
