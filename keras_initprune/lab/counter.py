"""Shows how many runs or trials of the planned are done, and the time left."""

import time
from typing import Any, Self

import rich.progress
from rich.console import Console
from rich.table import Column

from keras_initprune.lab.terminal import say


def has_bars(console: Console) -> bool:
    """Return whether progress is shown as a bar: on a terminal and in a notebook."""
    return console.is_terminal or console.is_jupyter


class _NotebookBar(rich.progress.Progress):
    """A bar in a notebook, for which Rich itself needs widgets."""

    _seconds_between = 0.5
    _shown_at = 0.0
    _handle: Any = None

    def start(self) -> None:
        """Show the bar below the cell."""
        from IPython.display import display

        self._shown_at = time.monotonic()
        self._handle = display(self, display_id=True)

    def refresh(self) -> None:
        """Show how far it is by now."""
        is_due = time.monotonic() - self._shown_at >= self._seconds_between
        if self._handle is not None and is_due:
            self._shown_at = time.monotonic()
            self._handle.update(self)

    def stop(self) -> None:
        """Take the bar away."""
        from IPython.display import Pretty

        self._handle.update(Pretty(""))

    def update(self, task_id: rich.progress.TaskID, **changes: Any) -> None:
        """Change a task."""
        super().update(task_id, **{**changes, "refresh": True})

    def advance(self, task_id: rich.progress.TaskID, advance: float = 1) -> None:
        """Move a task on."""
        super().advance(task_id, advance)
        self.refresh()


def make_bar(console: Console, speed_estimate_period: float) -> rich.progress.Progress:
    """Return a bar with the time left, whose tasks have a field `counted`."""
    kind = _NotebookBar if console.is_jupyter else rich.progress.Progress
    return kind(
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


class Counter:
    """Shows how many of the planned are done: a bar where one can move, else lines.

    The whole bar stands for `total`. Its estimate of the time left looks back for
    `period` seconds: far, since runs and trials differ in speed.
    """

    def __init__(
        self, console: Console, what: str, planned: int, total: int, period: float
    ) -> None:
        self.console, self.what, self.planned = console, what, planned
        self.bar = make_bar(console, period) if has_bars(console) else None
        if self.bar is not None:
            self.task = self.bar.add_task("", total=total, counted="")
        self.begin(0)

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, done: int, completed: int = 0) -> None:
        """Start the clock, and say how many were done before."""
        self.done = self.done_before = done
        self.started = time.monotonic()
        if done:
            line = f"{done} of {self.planned} {self.what} were finished before."
            say(self.console, line)
        if self.bar is not None:
            self.bar.reset(self.task, completed=completed)
        self.update()

    def update(self, **changes: Any) -> None:
        """Change the bar, if there is one."""
        if self.bar is not None:
            counted = f"{self.done}/{self.planned} {self.what}"
            self.bar.update(self.task, counted=counted, **changes)

    def say_outcome(self, line: str, left: float) -> None:
        """Say what came of one; `left` is the time left in parts of what has passed."""
        seconds = max(0.0, left * (time.monotonic() - self.started))
        done = f"[{self.done}/{self.planned}]"
        say(self.console, f"{done} {line}; {clock(seconds)} left")
