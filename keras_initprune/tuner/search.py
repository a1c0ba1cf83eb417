"""Drives `initprune search`, from the dense reference to the best network."""

import contextlib
import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import keras
import keras_tuner
from matplotlib.figure import Figure
from rich.console import Console

from keras_initprune import datasets
from keras_initprune.experiments import runner
from keras_initprune.experiments.configuration import CLASSIFICATION, Configuration
from keras_initprune.experiments.interrupts import Interrupts
from keras_initprune.experiments.results import (
    check_writable,
    temporary_path,
    write_atomically,
)
from keras_initprune.tuner import distribution, roles, summary
from keras_initprune.tuner.hypermodel import PruningHyperModel
from keras_initprune.tuner.progress import SearchProgress, make_progress
from keras_initprune.tuner.results import SearchResults, describe
from keras_initprune.tuner.settings import SearchSettings
from keras_initprune.tuner.tuners import PruningTuner
from keras_initprune.tuner.watching import Watcher

SETTINGS_NAME, REFERENCE_NAME = "search.json", "dense.json"
TRIALS_NAME, TABLE_NAME = "trials.json", "results.md"
FIGURE_NAME, MODEL_NAME, BEST_NAME = "front.png", "best.keras", "best.json"
_FOLDER = "tuner"
_POLL = 0.2


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a search.

    Attributes:
        finished: Number of trials that are stored.
    """

    def __init__(self, finished: int):
        super().__init__(f"{finished} trials are finished")
        self.finished = finished


@dataclass(frozen=True)
class Outcome:
    """What a search leaves behind.

    Attributes:
        results: The trials.
        dense: Metrics of the dense reference.
        best: The best trial: its record, callbacks and test result.
        paths: The files that were written.
        note: How the search ended, in a sentence.
    """

    results: SearchResults
    dense: Mapping[str, Any]
    best: Mapping[str, Any]
    paths: tuple[Path, ...]
    note: str


class Search:
    """One process's part of a search: all of it, the chief's or a worker's.

    Everything is kept in the folder: made again with the same settings, it goes on
    where it was.

    Args:
        settings: What to search.
        folder: Folder of the search; chief and workers share it.
        data_dir: Folder with the data, see `datasets.load`.
        strategy: Name of the strategy of trials, see `distribution.get`.
        devices: Number of devices of `"mirrored"`.
        patience: See `PruningTuner`.
        console: Where to show the progress. Defaults to the terminal.

    Raises:
        ValueError: If a setting is refused, or the folder holds another search.
        OSError: If the folder cannot be written, or is in use.
    """

    def __init__(
        self,
        settings: SearchSettings,
        folder: str | Path,
        data_dir: str | Path | None = None,
        strategy: str = "none",
        devices: int | None = None,
        patience: float = 60.0,
        console: Console | None = None,
    ):
        self.settings = settings
        self.folder = Path(folder)
        self.data_dir = data_dir
        self.role = roles.current()
        self.patience = patience
        self.console = Console() if console is None else console
        # Before anything else: logical devices can only be made at the beginning.
        self.strategy = distribution.get(strategy, devices)
        check_writable(self.folder)

    def run(self) -> Outcome | None:
        """Search, and write what was found.

        Returns:
            The outcome; None in a worker, whose chief has it.

        Raises:
            ValueError: If no trial was completed.
            ConnectionError: In a worker, if the chief is lost.
            Interrupted: After Ctrl-C.
        """
        if self.role == "worker":
            self._wait_for_settings()
            self._work()
            return None
        with _locked(self.folder):
            return self._lead()

    def _lead(self) -> Outcome:
        self._check_settings()
        objective = self.settings.make_objective(self._reference_value)
        with Interrupts() as interrupts:
            progress = make_progress(
                objective,
                self.settings.trials,
                self.settings.run.epochs,
                self.console,
                interrupts,
            )
            data = runner.load_data(self.settings.run, self.data_dir)
            tuner = self._make_tuner(objective, data, progress)
            self._store_settings()
            leader = _Leader(self, tuner, data, progress)
            tuner.watcher = tuner.oracle.watcher = leader
            try:
                with progress:
                    self._search(tuner, data)
            except KeyboardInterrupt as interrupt:
                raise Interrupted(len(tuner.oracle.end_order)) from interrupt
        return self._finish(tuner, data)

    def _work(self) -> None:
        objective = self.settings.make_objective(self._reference_value)
        with Interrupts() as interrupts:
            watcher = _Worker(self.console, interrupts)
            data = runner.load_data(self.settings.run, self.data_dir)
            tuner = self._make_tuner(objective, data, watcher)
            self._search(tuner, data)
        self.console.print("The search is over.")

    def _make_tuner(self, objective: Any, data: Any, watcher: Watcher) -> PruningTuner:
        hypermodel = PruningHyperModel(
            lambda hp: runner.build(self.settings.run, data),
            self.settings.space(),
            seed=self.settings.run.seed,
        )
        # KerasTuner prints where it found an earlier search.
        with contextlib.redirect_stdout(io.StringIO()):
            return PruningTuner(
                hypermodel,
                objective,
                self.settings.algorithm,
                max_trials=self.settings.trials,
                max_minutes=self.settings.minutes,
                epochs=self.settings.run.epochs,
                seed=self.settings.run.seed or 0,
                strategy=self.strategy,
                patience=self.patience,
                directory=self.folder,
                project_name=_FOLDER,
                watcher=watcher,
            )

    def _search(self, tuner: PruningTuner, data: Any) -> None:
        tuner.search(**fit_arguments(self.settings.run, data))

    def _finish(self, tuner: PruningTuner, data: Any) -> Outcome:
        results, dense = SearchResults(tuner), self.reference()
        write_atomically(
            self.folder / TRIALS_NAME, json.dumps(results.records, indent=1)
        )
        best, run = results.best(), self.settings.run
        with keras_tuner.engine.tuner.maybe_distribute(self.strategy):
            model = results.best_model()
        described = {
            **best,
            "meets_objective": results.meets_objective(best),
            # The test split is looked at here, once, for the network that was chosen.
            **runner.evaluate(model, "test", data.x_test, data.y_test, run),
            "callbacks": results.describe_callbacks(),
            "dense": dense,
            "settings": self.settings.identity,
            "versions": runner.versions(),
        }
        texts = {
            TABLE_NAME: summary.markdown(results, dense),
            BEST_NAME: json.dumps(described, indent=1) + "\n",
        }
        for name, text in texts.items():
            write_atomically(self.folder / name, text)
        axis = summary.figure(results, dense)
        _replace(self.folder / FIGURE_NAME, cast(Figure, axis.figure).savefig)
        _replace(self.folder / MODEL_NAME, model.save)
        names = (TRIALS_NAME, TABLE_NAME, FIGURE_NAME, MODEL_NAME, BEST_NAME)
        paths = tuple(self.folder / name for name in names)
        return Outcome(results, dense, described, paths, self._note(tuner))

    def _note(self, tuner: PruningTuner) -> str:
        done, wanted = len(tuner.oracle.end_order), self.settings.trials
        counted = f"{done} of {wanted} trials"
        if done >= wanted:
            return f"The search is over: {counted}."
        if tuner.oracle.has_only_failures:
            return f"The search gave up after {counted}: the last ones all failed."
        if tuner.oracle.is_stopped:
            return f"The time is over after {counted}. The same command goes on."
        return f"The search is over after {counted}: there is nothing else to try."

    def reference(self) -> dict[str, Any]:
        """Return the metrics of the dense reference, which must have been trained."""
        return json.loads((self.folder / REFERENCE_NAME).read_text(encoding="utf-8"))

    def _reference_value(self) -> float:
        return self.reference()[self.settings.metric]

    def train_reference(self, tuner: PruningTuner, data: Any, watcher: Watcher) -> None:
        """Train the dense network that others are compared with, unless it exists."""
        path, run = self.folder / REFERENCE_NAME, self.settings.run
        if path.exists():
            return
        started = time.perf_counter()
        with keras_tuner.engine.tuner.maybe_distribute(self.strategy):
            keras.utils.set_random_seed(run.seed)
            model = runner.build(run, data)
        check = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: watcher.batch_end()
        )
        history = model.fit(**fit_arguments(run, data), callbacks=[check]).history
        metrics = {name: float(values[-1]) for name, values in history.items()}
        metrics.update(runner.evaluate(model, "test", data.x_test, data.y_test, run))
        metrics["seconds"] = time.perf_counter() - started
        write_atomically(path, json.dumps(metrics, indent=1, allow_nan=False) + "\n")

    def _check_settings(self) -> None:
        """Raise if the folder holds another search."""
        path = self.folder / SETTINGS_NAME
        if not path.exists():
            return
        try:
            stored = _flat(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        for name, value in _flat(self._identity()).items():
            if stored.get(name) != value:
                raise ValueError(
                    f"{self.folder} holds a search with {name}={stored.get(name)!r}, "
                    f"and this one has {name}={value!r}. Choose another --out."
                )

    def _store_settings(self) -> None:
        path = self.folder / SETTINGS_NAME
        write_atomically(path, json.dumps(self._identity(), indent=1) + "\n")

    def _identity(self) -> dict[str, Any]:
        # As JSON has it: lists and tuples are the same there.
        return json.loads(json.dumps(self.settings.identity))

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
        self._check_settings()


class _Leader(Watcher):
    """Passes on what happens to the progress, after the dense reference."""

    def __init__(
        self, search: Search, tuner: PruningTuner, data: Any, progress: SearchProgress
    ):
        self._search, self._tuner, self._data = search, tuner, data
        self._progress = progress
        for name in (
            "batch_end", "epoch_end", "tick", "trial_begin", "trial_end", "worker_lost"
        ):  # fmt: skip
            setattr(self, name, getattr(progress, name))

    def search_begin(self) -> None:
        self._search.train_reference(self._tuner, self._data, self._progress)
        settings = self._search.settings
        objective = self._tuner.oracle.objective
        value = summary.show(objective, self._search.reference()[settings.metric])
        self._progress.say(f"dense: {settings.metric} {value}")
        self._progress.begin(len(self._tuner.oracle.end_order))


class _Worker(Watcher):
    """Says what a worker does."""

    def __init__(self, console: Console, interrupts: Interrupts):
        self._console, self._interrupts = console, interrupts

    def batch_end(self) -> None:
        self._interrupts.check()

    def trial_begin(self, trial: Any) -> None:
        line = f"trial {trial.trial_id}: {describe(trial.hyperparameters)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def fit_arguments(run: Configuration, data: Any) -> dict[str, Any]:
    """Return what `fit` is given in every trial of a search."""
    splits = {}
    for name, training in (("train", True), ("validation", False)):
        x, y = getattr(data, f"x_{name}"), getattr(data, f"y_{name}")
        splits[name] = datasets.pipeline(
            x,
            y if run.task == CLASSIFICATION else x,
            run.batch_size if training else runner.EVALUATION_BATCH_SIZE,
            shuffle=training,
            seed=run.seed,
        )
    return {
        "x": splits["train"],
        "validation_data": splits["validation"],
        "epochs": run.epochs,
        "shuffle": False,  # The pipeline shuffles.
        "verbose": 0,
    }


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second search out of a folder; the lock ends with the process."""
    try:
        import fcntl
    except ImportError:  # Not on POSIX.
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"Another search is running in {folder}.") from error
        yield


def _replace(path: Path, write: Any) -> None:
    temporary = temporary_path(path)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    run = settings.get("run")
    return {**settings, "run": None, **(run if isinstance(run, Mapping) else {})}
