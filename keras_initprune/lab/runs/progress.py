"""Shows how far runs are; interrupts them by Ctrl-C and kills, so that none is lost."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Self

import keras
from rich.console import Console

from keras_initprune.lab.counter import Counter
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.methods import trainings
from keras_initprune.lab.terminal import percent
from keras_initprune.plots.errors import measure_of

_WATCH_SECONDS = 0.5


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


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of many runs or trials.

    Attributes:
        finished: How many are stored.
        planned: How many there are in all.
    """

    def __init__(self, finished: int, planned: int) -> None:
        super().__init__(f"{finished} of {planned} are finished")
        self.finished = finished
        self.planned = planned


class Interrupts:
    """While it is entered, turns Ctrl-C into an exception at the next safe place.

    Python discards a `KeyboardInterrupt` that strikes inside a destructor or a weak
    reference's callback, of which a training has many, and goes on. So the first Ctrl-C
    is only noted, and raised by `check` or the callback; a second one strikes at once.

    Example:
        >>> with Interrupts() as interrupts:
        ...     interrupts.check()
    """

    def __init__(self) -> None:
        self.noted = False
        self._handling = _handling(signal.SIGINT, self._note)

    def __enter__(self) -> Self:
        self._handling.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handling.__exit__(*error)

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if Ctrl-C was pressed."""
        if self.noted:
            raise KeyboardInterrupt

    def callback(self) -> keras.callbacks.Callback:
        """Return a callback that checks whenever Keras comes back to Python."""
        return keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: self.check(),
            on_epoch_end=lambda epoch, logs: self.check(),
        )

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True


def kill_as_interrupt() -> contextlib.AbstractContextManager[None]:
    """While it is entered, let `kill` (SIGTERM) interrupt as Ctrl-C does.

    By default it ends the main process alone: those that train for it would go on, and
    hold their memory, with nobody to store what they find.
    """
    return _handling(signal.SIGTERM, signal.default_int_handler)


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended, however that came about.

    SIGKILL, and the kernel where memory runs out, leave the parent no time to end the
    processes that it has started. The system tells no process of Windows.
    """

    def watch() -> None:
        # A process that loses its parent is given another one.
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _handling(
    number: signal.Signals, handler: Callable[[int, FrameType | None], Any]
) -> Iterator[None]:
    # Only the main thread may set handlers, and only it is ever interrupted.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        if previous is not None:  # It was set from Python.
            signal.signal(number, previous)
