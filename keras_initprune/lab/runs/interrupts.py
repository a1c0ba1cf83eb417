"""Ctrl-C that never gets lost in a training, and a kill that leaves no processes."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

import keras

_WATCH_SECONDS = 0.5


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
