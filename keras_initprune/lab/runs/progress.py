"""Shows how far a comparison is: a bar where one can move, else a line per run."""

from collections.abc import Sequence
from typing import Any

import keras
from rich.console import Console

from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.methods import trainings
from keras_initprune.lab.terminal import Counter, percent
from keras_initprune.plots.errors import measure_of


class Progress(Counter):
    """Shows how far runs are while it is entered, epoch by epoch where it has a bar."""

    def __init__(
        self, configurations: Sequence[Configuration], done: int, console: Console
    ):
        self.epochs = sum(run.epochs * trainings(run) for run in configurations)
        self.epochs_done = self._epochs_of_finished = 0
        # A column of one width keeps the bar from jumping.
        names = [_describe(run.as_dict()) for run in configurations]
        self.width = max(map(len, names), default=0)
        planned = done + len(configurations)
        super().__init__(console, "runs", planned, self.epochs, period=600)
        self.begin(done)

    def start(self, configuration: Configuration) -> None:
        """Note that a run begins."""
        self.update(description=_describe(configuration.as_dict()).ljust(self.width))

    def advance(self) -> None:
        """Note that an epoch is over."""
        self.epochs_done += 1
        self.update(advance=1)

    def finish(self, record: dict[str, Any]) -> None:
        """Note that a run is over."""
        self.done += 1
        run = Configuration.from_dict(record["settings"])
        self._epochs_of_finished += run.epochs * trainings(run)
        # A run that fails ends early; one in another process tells no epochs.
        while self.epochs_done < self._epochs_of_finished:
            self.advance()
        self.update()
        if self.bar is None:
            line = f"{_describe(record)}: {_outcome(record)}"
            self.say_outcome(line, self.epochs / self.epochs_done - 1)

    def callback(self) -> keras.callbacks.Callback:
        """Return a callback that counts the epochs of a run."""
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.advance()
        )


def _describe(run: dict[str, Any]) -> str:
    sparsity = "" if run["method"] == "dense" else f" {percent(run['sparsity'])}"
    return f"{run['method']}{sparsity}, seed {run['seed']}"


def _outcome(record: dict[str, Any]) -> str:
    if "failed" in record:
        return f"failed, {record['failed']}"
    measure = measure_of([record])
    return f"{measure.label} {measure.show(record[measure.key], float('nan'))}"
