"""KerasTuner's oracles, made to survive killed processes and lost workers.

An oracle says what to try next. KerasTuner's own write their state in place, wait for
ever for a worker that died, end a grid search that is resumed, and let Hyperband cut a
trial in the epochs in which it selects its mask.
"""

import functools
import json
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_initprune.files import write_atomically
from keras_initprune.tuner.objectives import ParetoFront
from keras_initprune.validation import check_choice, check_positive_integer

FINISHED = (TrialStatus.COMPLETED, TrialStatus.FAILED)
REASON_NAME = "reason.txt"


class Watcher:
    """Hears what happens in a search. Subclasses override what interests them."""

    def trial_begin(self, trial: Any) -> None:
        """A trial begins, here or in a worker."""

    def batch_end(self) -> None:
        """A step of training in this process is over."""

    def epoch_end(self, trial: Any) -> None:
        """An epoch of training in this process is over."""

    def trial_end(self, trial: Any) -> None:
        """A trial is over, completed or failed."""

    def worker_lost(self, tuner_id: str, trial: Any) -> None:
        """A worker has been silent for too long, with its trial or None."""

    def tick(self) -> None:
        """Some time has passed in a chief."""


class RobustOracle(keras_tuner.Oracle):
    """What the oracles here have in common; mixed into KerasTuner's.

    Args:
        *args: Arguments of KerasTuner's oracle.
        patience: Seconds without a sign of life after which a worker counts as lost,
            and its trial goes to another one. Defaults to 60.
        max_failures: Trials that may fail one after the other before the search ends.
            Defaults to 10.
        **kwargs: Arguments of KerasTuner's oracle.
    """

    def __init__(
        self, *args: Any, patience: float = 60.0, max_failures: int = 10, **kwargs: Any
    ):
        # KerasTuner would raise where others wait for its lock; `create_trial` ends
        # the search instead.
        never = float("inf")
        super().__init__(*args, max_consecutive_failed_trials=never, **kwargs)
        self.patience = patience
        self.max_failures = check_positive_integer(max_failures, "max_failures")
        self.end_order: list[str] = []
        self.tuner_ids: set[str] = set()
        self.deadline: float | None = None
        self.on_hold = False
        self.watcher = Watcher()
        self._heard: dict[str, float] = {}

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """Return the next trial, or one that says to wait or to stop."""
        self._heard[tuner_id] = time.monotonic()
        self.release_lost()
        if self.on_hold:
            return self._no_trial(TrialStatus.IDLE)
        if self.is_stopped and tuner_id not in self.ongoing_trials:
            self.tuner_ids.discard(tuner_id)
            return self._no_trial(TrialStatus.STOPPED)
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            # Whoever works on those may die, and then somebody must take over.
            self.tuner_ids.add(tuner_id)
            trial.status = TrialStatus.IDLE
        if trial.status == TrialStatus.RUNNING:
            self.watcher.trial_begin(trial)
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Take in a finished trial, once."""
        self._hear_of(trial.trial_id)
        known = self.trials[trial.trial_id]
        if trial.trial_id in self.end_order:
            return  # Its worker was taken for lost, and another one was faster.
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
        # All hyperparameters are known from the start. What comes back from a worker
        # was rounded on the way, and messages do not travel at all.
        trial.hyperparameters = known.hyperparameters
        trial.message = trial.message or self._stored_reason(trial.trial_id)
        super().end_trial(trial)
        self.watcher.trial_end(known)

    def get_trial(self, trial_id: str) -> Trial:
        """Return a trial; workers ask for theirs to show that they are alive."""
        self._hear_of(trial_id)
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def release_lost(self) -> None:
        """Take trials from workers that have been silent for too long."""
        now = time.monotonic()
        for tuner_id in list(self.tuner_ids):
            if now - self._heard.setdefault(tuner_id, now) <= self.patience:
                continue
            self.tuner_ids.discard(tuner_id)
            trial = self.ongoing_trials.pop(tuner_id, None)
            if trial is not None:
                self._retry_queue.append(trial.trial_id)
                self.save()
            self.watcher.worker_lost(tuner_id, trial)

    @property
    def is_stopped(self) -> bool:
        """Whether no new trial begins, whatever the budget of trials."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        return late or self.has_only_failures

    @property
    def has_only_failures(self) -> bool:
        """Whether the last `max_failures` trials all failed."""
        last = self.end_order[-self.max_failures :]
        failed = [self.trials[i].status == TrialStatus.FAILED for i in last]
        return len(failed) == self.max_failures and all(failed)

    def save(self) -> None:
        """Write the state, so that a kill never leaves half of it."""
        write_atomically(self._get_oracle_fname(), json.dumps(self.get_state()))

    def reload(self) -> None:
        """Read the state; what was not finished is tried again.

        Raises:
            ValueError: If a file is damaged.
        """
        try:
            super().reload()
        except ValueError as error:
            raise ValueError(
                f"The search in {self._project_dir} is damaged: {error}. Move it away, "
                "or choose another folder."
            ) from error
        # The files of trials may be newer than that of the oracle.
        self.end_order = [i for i in self.end_order if self._is_finished(i)]
        for trial_id in sorted(self.trials):
            if self._is_finished(trial_id) and trial_id not in self.end_order:
                self.end_order.append(trial_id)
        # The queue is a stack.
        waiting = [i for i in self.trials if not self._is_finished(i)]
        self._retry_queue = sorted(waiting, reverse=True)
        self.tuner_ids = set()

    def _is_finished(self, trial_id: str) -> bool:
        return self.trials[trial_id].status in FINISHED

    def _hear_of(self, trial_id: str) -> None:
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if trial.trial_id == trial_id:
                self._heard[tuner_id] = time.monotonic()

    def _no_trial(self, status: str) -> Trial:
        return Trial(self.get_space(), trial_id="none", status=status)

    def _save_trial(self, trial: Trial) -> None:
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_atomically(path, json.dumps(trial.get_state()))

    def _stored_reason(self, trial_id: str) -> str | None:
        path = Path(self._get_trial_dir(trial_id)) / REASON_NAME
        return path.read_text(encoding="utf-8") if path.exists() else None


class RandomOracle(RobustOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class BayesianOracle(RobustOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation with a Gaussian process.

    It begins with a third of the trials at random. (KerasTuner's default, three per
    hyperparameter, is more than a search of 20 trials has.)
    """

    def __init__(
        self,
        *args: Any,
        max_trials: int = 20,
        num_initial_points: int | None = None,
        **kwargs: Any,
    ):
        points = num_initial_points or max(3, max_trials // 3)
        super().__init__(
            *args, max_trials=max_trials, num_initial_points=points, **kwargs
        )

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Choose the next values where the process promises most."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(), self._weighed_scores(trial_id):
            # A length scale at its bound is what a hyperparameter without effect gives.
            warnings.simplefilter("ignore", ConvergenceWarning)
            response = super().populate_space(trial_id)
        values = response.get("values")
        if values is not None and self._duplicate(values):
            # Where trials are paired, the same values give the same result.
            return self._random_populate_space()
        return response

    @contextmanager
    def _weighed_scores(self, trial_id: str) -> Iterator[None]:
        """For the whole front, weigh quality against sparsity anew for every trial."""
        completed = [
            trial
            for trial in self.trials.values()
            if trial.status == TrialStatus.COMPLETED
        ]
        scores = [trial.score for trial in completed]
        if isinstance(self.objective, ParetoFront) and completed:
            weight = random.Random(f"{self.seed}-{trial_id}").random()
            metrics = [metrics_of(trial) for trial in completed]
            weighed = self.objective.weighed(metrics, weight)
            for trial, score in zip(completed, weighed, strict=True):
                trial.score = score
        try:
            yield
        finally:
            for trial, score in zip(completed, scores, strict=True):
                trial.score = score


class GridOracle(RobustOracle, keras_tuner.oracles.GridSearchOracle):
    """Every combination, as far as the budget goes."""

    def reload(self) -> None:
        """Read the state, and find again where the grid was."""
        super().reload()
        compare = functools.cmp_to_key(
            lambda one, other: self._compare(
                self.trials[one].hyperparameters.values,
                self.trials[other].hyperparameters.values,
            )
        )
        for trial_id in sorted(self.trials, key=compare):
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(self.start_order)


class HyperbandOracle(RobustOracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband whose shortest trials are longer than the pruning.

    Raises:
        ValueError: If the longest trial is too short for anything to be cut.

    Reference:
        Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter
        optimization" (arXiv 1603.06560).
    """

    def __init__(
        self,
        *args: Any,
        max_trials: int = 20,
        min_epochs: int = 1,
        max_epochs: int = 100,
        factor: int = 2,
        **kwargs: Any,
    ):
        check_positive_integer(max_epochs, "epochs")
        if max_epochs < factor * min_epochs:
            raise ValueError(
                f"`epochs` must be at least {factor} x {min_epochs} for Hyperband: the "
                f"shortest trial takes the pruning epochs and one more, {min_epochs} "
                f"in all, and the next one {factor} times as long. "
                f"Received: epochs={max_epochs}"
            )
        super().__init__(
            *args,
            max_epochs=max_epochs,
            factor=factor,
            hyperband_iterations=None,
            **kwargs,
        )
        self.max_trials = max_trials
        self.min_epochs = min_epochs
        self._brackets: list[dict[str, Any]] = []
        self._current_bracket = self._get_num_brackets() - 1
        self._start_new_bracket()


AlgorithmName = Literal["random", "hyperband", "bayesian", "grid"]

ORACLES: dict[str, type[RobustOracle]] = {
    "random": RandomOracle,
    "hyperband": HyperbandOracle,
    "bayesian": BayesianOracle,
    "grid": GridOracle,
}


def get(identifier: AlgorithmName | str) -> type[RobustOracle]:
    """Return an oracle's class by its name.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> get("grid").__name__
        'GridOracle'
    """
    return ORACLES[check_choice(identifier, "algorithm", ORACLES)]


def metrics_of(trial: Trial) -> dict[str, float]:
    """Return what was measured in a trial; empty if it has not finished."""
    tracker = trial.metrics
    return {name: float(tracker.get_best_value(name)) for name in tracker.metrics}


def reason_of(trial: Trial) -> str:
    """Return in one line why a trial failed: of a traceback, the last one."""
    lines = (trial.message or "").strip().splitlines()
    return lines[-1] if lines else "unknown"
