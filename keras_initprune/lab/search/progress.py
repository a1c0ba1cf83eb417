"""Shows how far a search is: a bar where one can move, else a line per trial."""

import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from keras_initprune.lab.runs.interrupts import Interrupts
from keras_initprune.lab.terminal import clock, has_bars, make_bar, percent, say
from keras_initprune.tuner.objectives import SPARSITY, SearchObjective
from keras_initprune.tuner.oracles import metrics_of, reason_of
from keras_initprune.tuner.results import describe
from keras_initprune.tuner.watching import Watcher


@dataclass(eq=False)
class WorkerProgress(Watcher):
    """What a worker says: which trials it was given."""

    console: Console
    interrupts: Interrupts

    def batch_end(self) -> None:
        """Stop here if Ctrl-C was pressed."""
        self.interrupts.check()

    def trial_begin(self, trial: Any) -> None:
        """Say what is trained."""
        self.say(f"trial {trial.trial_id}: {describe(trial.hyperparameters)}")

    def say(self, line: str) -> None:
        """Print a line."""
        say(self.console, line)


@dataclass(eq=False)
class SearchProgress(WorkerProgress):
    """Shows a bar with the time left, in a terminal or a notebook, or else lines."""

    objective: SearchObjective
    trials: int
    epochs: int

    def __post_init__(self) -> None:
        self.done = self.done_before = 0
        self.started = time.monotonic()
        self.bar = None
        if has_bars(self.console):
            # Trials differ in speed, so the estimate looks far back.
            self.bar = make_bar(self.console, speed_estimate_period=1200)
            self.task = self.bar.add_task("", total=self.trials, counted="")

    def begin(self, done: int) -> None:
        """Note how many trials were finished before."""
        self.done = self.done_before = done
        self.started = time.monotonic()
        if done:
            self.say(f"{done} of {self.trials} trials were finished before.")
        if self.bar is not None:
            self.bar.reset(self.task, total=self.trials, completed=done)
        self._show()

    def tick(self) -> None:
        """Stop here if Ctrl-C was pressed."""
        self.interrupts.check()

    def trial_begin(self, trial: Any) -> None:
        """Show which trial runs, beside the bar."""
        self._show(describe(trial.hyperparameters))

    def epoch_end(self, trial: Any) -> None:
        """Move the bar by an epoch's share of a trial."""
        if self.bar is not None:
            done = self.bar.tasks[0].completed + 1 / self.epochs
            # Trials of Hyperband differ in length.
            self.bar.update(self.task, completed=min(done, self.done + 0.99))

    def trial_end(self, trial: Any) -> None:
        """Say what came of a trial, and how long the others will take."""
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done)
            self._show(self.describe(trial))
            return
        elapsed = time.monotonic() - self.started
        left = elapsed / (self.done - self.done_before) * (self.trials - self.done)
        self.say(
            f"[{self.done}/{self.trials}] {self.describe(trial)}; "
            f"{clock(max(left, 0.0))} left"
        )

    def worker_lost(self, tuner_id: str, trial: Any) -> None:
        """Say that a worker is gone and what becomes of its trial."""
        then = f"; trial {trial.trial_id} goes to another one" if trial else ""
        self.say(f"The worker {tuner_id} is lost{then}.")

    def describe(self, trial: Any) -> str:
        """Return a trial's values and its outcome in words."""
        name = f"{trial.trial_id} {describe(trial.hyperparameters, 'pruning/sparsity')}"
        metrics = metrics_of(trial)
        if trial.score is None or self.objective.metric not in metrics:
            return f"{name}: failed. {reason_of(trial)}"
        value = self.objective.value(metrics)
        shown = percent(value) if self.objective.metric_direction == "max" else value
        return (
            f"{name}: {self.objective.metric} {shown} at {percent(metrics[SPARSITY])}"
        )

    def _show(self, description: str = "") -> None:
        if self.bar is not None:
            counted = f"{self.done}/{self.trials} trials"
            self.bar.update(self.task, counted=counted, description=description)
