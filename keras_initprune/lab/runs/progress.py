"""Shows how far a comparison is: a bar where one can move, else a line per run."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from rich.console import Console

from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.methods import trainings
from keras_initprune.lab.terminal import clock, has_bars, make_bar, percent, say
from keras_initprune.plots.errors import measure_of


class Progress:
    """Shows a bar with the time left, in a terminal or a notebook, or else lines."""

    def __init__(
        self, configurations: Sequence[Configuration], done: int, console: Console
    ):
        self.console = console
        self.done = done
        self.planned = done + len(configurations)
        self.epochs = sum(run.epochs * trainings(run) for run in configurations)
        self.epochs_done = 0
        self._epochs_of_finished = 0
        self.started = time.monotonic()
        if done:
            say(console, f"{done} of {self.planned} runs were finished before.")
        self.bar = None
        if has_bars(console):
            # Runs differ in speed, so the estimate looks far back.
            self.bar = make_bar(console, speed_estimate_period=600)
            self.task = self.bar.add_task("", total=self.epochs, counted=self._runs())
        # A column of one width keeps the bar from jumping.
        names = [_describe(run.as_dict()) for run in configurations]
        self.width = max(map(len, names), default=0)

    def start(self, configuration: Configuration) -> None:
        """Note that a run begins."""
        if self.bar is not None:
            name = _describe(configuration.as_dict())
            self.bar.update(self.task, description=name.ljust(self.width))

    def advance(self) -> None:
        """Note that an epoch is over."""
        self.epochs_done += 1
        if self.bar is not None:
            self.bar.advance(self.task)

    def finish(self, record: dict[str, Any]) -> None:
        """Note that a run is over."""
        self.done += 1
        run = Configuration.from_dict(record["settings"])
        self._epochs_of_finished += run.epochs * trainings(run)
        # A run that fails ends early; one in another process tells no epochs.
        while self.epochs_done < self._epochs_of_finished:
            self.advance()
        if self.bar is not None:
            self.bar.update(self.task, counted=self._runs())
            return
        elapsed = time.monotonic() - self.started
        left = elapsed * (self.epochs / self.epochs_done - 1)
        say(
            self.console,
            f"[{self.done}/{self.planned}] {_describe(record)}: {_outcome(record)}; "
            f"{clock(left)} left",
        )

    def callback(self) -> keras.callbacks.Callback:
        """Return a callback that counts the epochs of a run."""
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.advance()
        )

    def _runs(self) -> str:
        return f"{self.done}/{self.planned} runs"


@contextlib.contextmanager
def make_progress(
    configurations: Sequence[Configuration], done: int, console: Console
) -> Iterator[Progress]:
    """Show how far runs are for as long as they go on; yield what to tell of them."""
    progress = Progress(configurations, done, console)
    with progress.bar or contextlib.nullcontext():
        yield progress


def _describe(run: dict[str, Any]) -> str:
    sparsity = "" if run["method"] == "dense" else f" {percent(run['sparsity'])}"
    return f"{run['method']}{sparsity}, seed {run['seed']}"


def _outcome(record: dict[str, Any]) -> str:
    if "failed" in record:
        return f"failed, {record['failed']}"
    measure = measure_of([record])
    return f"{measure.label} {measure.show(record[measure.key], float('nan'))}"
