"""Drives `initprune search`, from the dense reference to the best network."""

import contextlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from rich.console import Console

from keras_initprune.files import check_writable
from keras_initprune.lab.claims import locked
from keras_initprune.lab.counter import Counter
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.progress import Interrupted, Interrupts
from keras_initprune.lab.search.outcome import Outcome, conclude, shown, write_json
from keras_initprune.lab.search.settings import FOREVER, SearchSettings
from keras_initprune.lab.terminal import percent, say
from keras_initprune.tuner import strategies, workers
from keras_initprune.tuner.hypermodel import PruningHyperModel
from keras_initprune.tuner.objectives import SPARSITY, SearchObjective
from keras_initprune.tuner.oracles import Watcher, metrics_of, reason_of
from keras_initprune.tuner.results import describe
from keras_initprune.tuner.tuners import PruningTuner
from keras_initprune.validation import check_positive

SETTINGS_NAME = "search.json"
_REFERENCE_NAME = "dense.json"
_LOCK_NAME = ".lock"
_FOLDER = "tuner"
_POLL = 0.2


class WorkerProgress(Watcher):
    """What a worker says: which trials it was given."""

    def __init__(self, console: Console, interrupts: Interrupts) -> None:
        self.console, self.interrupts = console, interrupts

    def batch_end(self) -> None:
        """Stop here if Ctrl-C was pressed."""
        self.interrupts.check()

    def trial_begin(self, trial: Any) -> None:
        """Say what is trained."""
        line = f"trial {trial.trial_id}: {describe(trial.hyperparameters)}"
        say(self.console, line)


class SearchProgress(WorkerProgress, Counter):
    """What a search shows: a bar with the time left, or else a line per trial."""

    def __init__(
        self,
        console: Console,
        interrupts: Interrupts,
        objective: SearchObjective,
        settings: SearchSettings,
    ) -> None:
        WorkerProgress.__init__(self, console, interrupts)
        trials = settings.trials
        Counter.__init__(self, console, "trials", trials, total=trials, period=1200)
        self.objective, self.epochs = objective, settings.run.epochs

    def tick(self) -> None:
        """Stop here if Ctrl-C was pressed."""
        self.interrupts.check()

    def trial_begin(self, trial: Any) -> None:
        """Show which trial runs, beside the bar."""
        self.update(description=describe(trial.hyperparameters))

    def epoch_end(self, trial: Any) -> None:
        """Move the bar by an epoch's share of a trial."""
        if self.bar is not None:
            done = self.bar.tasks[0].completed + 1 / self.epochs
            # Trials of Hyperband differ in length.
            self.update(completed=min(done, self.done + 0.99))

    def trial_end(self, trial: Any) -> None:
        """Say what came of a trial, and how long the others will take."""
        self.done += 1
        line = self._outcome(trial)
        self.update(completed=self.done, description=line)
        if self.bar is None:
            left = (self.planned - self.done) / (self.done - self.done_before)
            self.say_outcome(line, left)

    def worker_lost(self, tuner_id: str, trial: Any) -> None:
        """Say that a worker is gone and what becomes of its trial."""
        then = f"; trial {trial.trial_id} goes to another one" if trial else ""
        say(self.console, f"The worker {tuner_id} is lost{then}.")

    def _outcome(self, trial: Any) -> str:
        """Return a trial's values and its outcome in words."""
        name = f"{trial.trial_id} {describe(trial.hyperparameters, 'pruning/sparsity')}"
        metrics, objective = metrics_of(trial), self.objective
        if trial.score is None or objective.metric not in metrics:
            return f"{name}: failed. {reason_of(trial)}"
        value = objective.value(metrics)
        result = percent(value) if objective.metric_direction == "max" else value
        return f"{name}: {objective.metric} {result} at {percent(metrics[SPARSITY])}"


class RunHyperModel(keras_tuner.HyperModel):
    """The hypermodel of a run, with nothing to search.

    Every trial begins with the same weights and sees the same batches in the same
    order, whatever came before it in its process.
    """

    def __init__(self, run: Configuration, data: Any):
        super().__init__()
        self.run = run
        self.data = data

    def build(self, hp: Any) -> keras.Model:
        """Return the compiled model, for the strategy whose scope this is in."""
        model = runner.build(self.run, self.data)
        strategy = model.distribute_strategy
        if strategy and strategy.num_replicas_in_sync > 1:
            model.steps_per_execution = 1  # See `strategies.check_model`.
        return model

    def fit(self, hp: Any, model: keras.Model, **kwargs: Any) -> Any:
        """Train it on batches of its own, in an order that the global seed decides."""
        run, size = self.run, runner.EVALUATION_BATCH_SIZE
        arguments = {
            "x": runner.pipeline(run, self.data, "train", run.batch_size),
            "validation_data": runner.pipeline(run, self.data, "validation", size),
            "epochs": run.epochs,
            "shuffle": False,  # The pipeline shuffles.
            "verbose": 0,
        }
        return model.fit(**{**arguments, **kwargs})


def read_reference(folder: Path) -> dict[str, Any]:
    """Return the metrics of the dense reference, which must have been trained."""
    return json.loads((folder / _REFERENCE_NAME).read_text(encoding="utf-8"))


def train_reference(
    folder: Path, hypermodel: RunHyperModel, strategy: Any, check: Callable[[], None]
) -> dict[str, Any]:
    """Train the dense reference unless it is in the folder, and return its metrics.

    `check` is called after every step; what it raises ends the training.
    """
    if (folder / _REFERENCE_NAME).exists():
        return read_reference(folder)
    started = time.perf_counter()
    run, nothing = hypermodel.run, keras_tuner.HyperParameters()
    with strategies.scope(strategy):
        keras.utils.set_random_seed(run.seed)
        model = hypermodel.build(nothing)
    checks = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: check()
    )
    history = hypermodel.fit(nothing, model, callbacks=[checks]).history
    metrics = {name: float(values[-1]) for name, values in history.items()}
    metrics.update(runner.evaluate(model, run, hypermodel.data, "test"))
    metrics["seconds"] = time.perf_counter() - started
    write_json(folder / _REFERENCE_NAME, metrics, allow_nan=False)
    return metrics


@dataclass
class Search:
    """One process's part of a search: all of it, the chief's or a worker's.

    Everything is kept in the folder: made again with the same settings, it goes on
    where it was.

    Raises:
        ValueError: If a setting is refused.
        OSError: If the folder cannot be written.
    """

    settings: SearchSettings
    folder: Path
    data_dir: str | Path | None = None
    strategy: Any = "none"
    devices: int | None = None
    patience: float = 60.0
    console: Console = field(default_factory=Console)

    def __post_init__(self) -> None:
        check_positive(self.patience, "patience", below=FOREVER)
        self.role = workers.current()
        # Before anything else: logical devices can only be made at the beginning.
        self.strategy = strategies.get(self.strategy, self.devices)
        check_writable(self.folder)

    def run(self) -> Outcome | None:
        """Search, and write what was found.

        Returns:
            The outcome; None in a worker, whose chief has it.

        Raises:
            ValueError: If the folder holds another search, or no trial was completed.
            OSError: If the folder is in use; as `ConnectionError` in a worker, if the
                chief is lost.
            Interrupted: After Ctrl-C.
        """
        if self.role == "worker":
            self._work()
            return None
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / _LOCK_NAME, wait=False))
            except BlockingIOError as error:
                message = f"Another search is running in {self.folder}."
                raise OSError(message) from error
            return self._lead()

    def _lead(self) -> Outcome:
        self._check_settings()
        objective = self.settings.make_objective(self._reference_value)
        data = runner.load_data(self.settings.run, self.data_dir)
        with (
            Interrupts() as interrupts,
            SearchProgress(
                self.console, interrupts, objective, self.settings
            ) as progress,
        ):
            tuner = self._make_tuner(objective, data, progress)
            write_json(self.folder / SETTINGS_NAME, self.settings.identity)
            tuner.prepare = lambda: self._prepare(tuner, data, progress)
            try:
                tuner.search(epochs=self.settings.run.epochs, verbose=0)
            except KeyboardInterrupt as interrupt:
                finished = len(tuner.oracle.end_order)
                raise Interrupted(finished, self.settings.trials) from interrupt
        dense = read_reference(self.folder)
        return conclude(tuner, self.settings, self.folder, data, dense)

    def _work(self) -> None:
        self._wait_for_settings()
        self._check_settings()
        objective = self.settings.make_objective(self._reference_value)
        data = runner.load_data(self.settings.run, self.data_dir)
        with Interrupts() as interrupts:
            watcher = WorkerProgress(self.console, interrupts)
            tuner = self._make_tuner(objective, data, watcher)
            tuner.search(epochs=self.settings.run.epochs, verbose=0)
        self.console.print("The search is over.")

    def _make_tuner(self, objective: Any, data: Any, watcher: Watcher) -> PruningTuner:
        run = self.settings.run
        hypermodel = PruningHyperModel(
            RunHyperModel(run, data), self.settings.space(), run.seed
        )
        # KerasTuner prints where it found an earlier search.
        with contextlib.redirect_stdout(io.StringIO()):
            return PruningTuner(
                hypermodel,
                objective,
                self.settings.algorithm,
                max_trials=self.settings.trials,
                max_minutes=self.settings.minutes,
                epochs=run.epochs,
                seed=run.seed,
                strategy=self.strategy,
                patience=self.patience,
                directory=self.folder,
                project_name=_FOLDER,
                watcher=watcher,
            )

    def _prepare(
        self, tuner: PruningTuner, data: Any, progress: SearchProgress
    ) -> None:
        """Train the dense reference, and say how far the search was before."""
        hypermodel = RunHyperModel(self.settings.run, data)
        dense = train_reference(
            self.folder, hypermodel, self.strategy, progress.batch_end
        )
        metric, objective = self.settings.metric, tuner.oracle.objective
        say(self.console, f"dense: {metric} {shown(objective, dense[metric])}")
        done = len(tuner.oracle.end_order)
        progress.begin(done, completed=done)

    def _reference_value(self) -> float:
        return read_reference(self.folder)[self.settings.metric]

    def _check_settings(self) -> None:
        """Raise if the folder holds another search."""
        path = self.folder / SETTINGS_NAME
        if not path.exists():
            return
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if not isinstance(stored, dict):
            raise ValueError(f"{path} is damaged: it holds no settings.")
        stored, own = _flat(stored), _flat(self.settings.identity)
        for name in {**own, **stored}:
            # Another version may have more settings, or fewer.
            theirs, ours = (
                f"{name}={each[name]!r}" if name in each else f"no {name}"
                for each in (stored, own)
            )
            if stored.get(name) != own.get(name) or (name in stored) != (name in own):
                raise ValueError(
                    f"{self.folder} holds a search with {theirs}, and this one has "
                    f"{ours}. Choose another --out."
                )

    def _wait_for_settings(self) -> None:
        """Wait until the chief has begun."""
        until = time.monotonic() + self.patience
        while not (self.folder / SETTINGS_NAME).exists():
            if time.monotonic() > until:
                raise ConnectionError(
                    f"No chief has begun a search in {self.folder} for "
                    f"{self.patience:g} seconds. Chief and workers need the same --out."
                )
            time.sleep(_POLL)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    run = settings.get("run")
    return {**settings, "run": None, **(run if isinstance(run, Mapping) else {})}
