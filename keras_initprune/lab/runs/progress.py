"""Shows how far a comparison is: a bar on a terminal, one line per run elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import keras
import rich.progress
from rich.console import Console
from rich.table import Column

from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.methods import trainings
from keras_initprune.lab.runs.summary import measure_of
from keras_initprune.lab.runs.tables import percent


class Progress:
    """Progress as plain lines, for files, pipes and logs.

    Args:
        configurations: The runs that are to come.
        done: Number of runs that were finished before.
        console: Where to write.
    """

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

    def __enter__(self) -> Self:
        if self.done:
            self._print(f"{self.done} of {self.planned} runs were finished before.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to tidy up."""

    def start(self, configuration: Configuration) -> None:
        """Note that a run begins."""

    def advance(self) -> None:
        """Note that an epoch is over."""
        self.epochs_done += 1

    def finish(self, record: dict[str, Any]) -> None:
        """Note that a run is over."""
        self._finish(record)
        elapsed = time.monotonic() - self.started
        left = elapsed * (self.epochs / self.epochs_done - 1)
        self._print(
            f"[{self.done}/{self.planned}] {_describe(record)}: {_outcome(record)}; "
            f"{clock(left)} left"
        )

    def callback(self) -> keras.callbacks.Callback:
        """Return a callback that counts the epochs of a run."""
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.advance()
        )

    def _finish(self, record: dict[str, Any]) -> None:
        self.done += 1
        run = Configuration.from_dict(record["settings"])
        self._epochs_of_finished += run.epochs * trainings(run)
        # A run that fails ends early; one in another process tells no epochs.
        while self.epochs_done < self._epochs_of_finished:
            self.advance()

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class BarProgress(Progress):
    """Progress as a bar with the time left, for a terminal."""

    def __init__(
        self, configurations: Sequence[Configuration], done: int, console: Console
    ):
        super().__init__(configurations, done, console)
        # Runs differ in speed, so the estimate looks far back.
        self.bar = make_bar(console, speed_estimate_period=600)
        # A column of one width keeps the bar from jumping.
        names = [_describe(run.as_dict()) for run in configurations]
        self.width = max(map(len, names), default=0)
        self.task = self.bar.add_task("", total=self.epochs, counted=self._runs())

    def __enter__(self) -> Self:
        super().__enter__()
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def start(self, configuration: Configuration) -> None:
        """Show which run begins."""
        name = _describe(configuration.as_dict())
        self.bar.update(self.task, description=name.ljust(self.width))

    def advance(self) -> None:
        """Move the bar by an epoch."""
        super().advance()
        self.bar.advance(self.task)

    def finish(self, record: dict[str, Any]) -> None:
        """Count a finished run."""
        self._finish(record)
        self.bar.update(self.task, counted=self._runs())

    def _runs(self) -> str:
        return f"{self.done}/{self.planned} runs"


def make_progress(
    configurations: Sequence[Configuration], done: int, console: Console
) -> Progress:
    """Return a bar for a terminal, and lines for everything else.

    Args:
        configurations: The runs that are to come.
        done: Number of runs that were finished before.
        console: Where to write.
    """
    kind = BarProgress if console.is_terminal else Progress
    return kind(configurations, done, console)


def make_bar(console: Console, speed_estimate_period: float) -> rich.progress.Progress:
    """Return a bar with the time left, whose tasks have a field `counted`.

    Args:
        console: The terminal.
        speed_estimate_period: Seconds that the estimate of the time left looks back.
    """
    return rich.progress.Progress(
        rich.progress.TextColumn(
            "{task.fields[counted]}", table_column=Column(no_wrap=True)
        ),
        rich.progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        rich.progress.TaskProgressColumn(table_column=Column(no_wrap=True)),
        rich.progress.TimeRemainingColumn(table_column=Column(no_wrap=True)),
        # A long description gives way, so that the bar and the time left stay.
        rich.progress.TextColumn(
            "{task.description}",
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=2),
        ),
        console=console,
        transient=True,
        expand=True,
        speed_estimate_period=speed_estimate_period,
    )


def _describe(run: dict[str, Any]) -> str:
    sparsity = "" if run["method"] == "dense" else f" {percent(run['sparsity'])}"
    return f"{run['method']}{sparsity}, seed {run['seed']}"


def _outcome(record: dict[str, Any]) -> str:
    if "failed" in record:
        return f"failed, {record['failed']}"
    measure = measure_of([record])
    return f"{measure.label} {measure.show(record[measure.key], float('nan'))}"


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are any.

    Example:
        >>> clock(75), clock(3675)
        ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    )
