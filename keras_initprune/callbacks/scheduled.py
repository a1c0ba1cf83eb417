"""What callbacks share that change masks again and again during their phase."""

from fractions import Fraction
from typing import Any, Literal

import numpy as np

from keras_initprune import validation
from keras_initprune.callbacks.base import PruningCallback
from keras_initprune.callbacks.schedule import State
from keras_initprune.prunable import LayerSelector

# Steps, None for the ends of epochs, or what suits the length of an epoch.
Interval = int | Literal["auto"] | None

# On MNIST ten removals an epoch leave fewer errors than one, and more gain nothing.
_CHANGES_PER_EPOCH = 10


class ScheduledPruning(PruningCallback):
    """Base of callbacks whose masks change at the ends of epochs or every few steps.

    Subclasses override `start`, `change` and `describe`, and extend `begin_phase`,
    `phase_state` and `resume_phase` if they keep more than counts.

    Args:
        epochs: Length of the phase in epochs.
        interval: Steps (batches) between two changes, counted from the phase's first
            step. None: one change at the end of every epoch. `"auto"`: ten changes in
            every epoch, the last one at its end, or only that one where Keras does not
            know how many steps an epoch has.
        verbose: See `PruningCallback`.
        layers: See `PruningCallback`.
        skip_output: See `PruningCallback`.
        embeddings: See `PruningCallback`.
    """

    def __init__(
        self,
        epochs: Any,
        interval: Interval,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(epochs, verbose, layers, skip_output, embeddings)
        self.interval = check_interval(interval)

    def begin_phase(self) -> None:
        """Begin to count."""
        if isinstance(self.interval, int) and not self.params.get("steps"):
            raise ValueError(
                f"`interval` of {type(self).__name__} needs to know how many steps an "
                "epoch has, which this data does not tell: give `steps_per_epoch` to "
                f"`fit`. Received: interval={self.interval}"
            )
        self._last_step, self._changes, self._has_started = 0, 0, False

    def phase_state(self) -> State:
        """Return how far the changes have come."""
        counts = (self._last_step, self._changes, self._has_started)
        return {"counts": np.array(counts, np.int64)}

    def resume_phase(self, state: State) -> None:
        """Go on with the changes that are still to come."""
        self._last_step, self._changes, started = map(int, state["counts"])
        self._has_started = bool(started)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start when the phases of the callbacks before this one are over."""
        super().on_epoch_begin(epoch, logs)
        if self._epochs_seen == self.epochs_before and not self._has_started:
            self._has_started = True
            self.start()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Change the masks if a change is due after the steps that are done.

        Not at a batch's end: a callback with that hook has Keras wait for every step.
        """
        phase_epoch = self._epochs_seen - self.epochs_before
        interval = self.interval_in_steps()
        if interval is None or not 0 <= phase_epoch < self.phase_epochs:
            return
        step = phase_epoch * self.params["steps"] + batch
        progress = step / (self.phase_epochs * self.params["steps"])
        if self._is_due(step, interval) and self.change(progress):
            self._last_step = step
            self._changes += 1
        if self._is_due(step + self.model.steps_per_execution, interval):
            self.prepare()

    def end_phase_epoch(self, phase_epoch: int) -> str:
        """Change the masks unless that happens every few steps."""
        if not isinstance(self.interval, int):
            self._last_step = phase_epoch * (self.params.get("steps") or 0)
            self._changes += self.change(phase_epoch / self.phase_epochs)
        elif phase_epoch == self.phase_epochs:
            self.finish()
        return self.describe()

    def interval_in_steps(self) -> int | Fraction | None:
        """Return the steps between two changes, or None for the ends of epochs."""
        if self.interval != "auto":
            return self.interval
        steps = self.params.get("steps")
        return Fraction(steps, _CHANGES_PER_EPOCH) if steps else None

    def start(self) -> None:
        """Act when the phase begins."""

    def prepare(self) -> None:
        """Act before the step after which a change is due."""

    def change(self, progress: float) -> bool:
        """Change the masks.

        Args:
            progress: Share of the phase that is over, in (0, 1].

        Returns:
            Whether it was done. If not, it is tried again after the next step.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Act at the end of the phase if changes happen every few steps."""

    def describe(self) -> str:
        """Return what happened so far, for `verbose=1`."""
        raise NotImplementedError

    def _is_due(self, step: int, interval: int | Fraction) -> bool:
        return step // interval > self._last_step // interval


def check_interval(interval: Any) -> Interval:
    """Return `interval`, or raise unless it is a number of steps, None or `"auto"`."""
    if interval is None or interval == "auto":
        return interval
    return validation.check_positive_integer(interval, "interval")
