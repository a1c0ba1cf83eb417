"""Spreads the runs of a study over processes or machines, and stores what they find.

joblib does the spreading: processes on one machine by itself, several machines through
a Dask scheduler that is running already.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import keras
import tensorflow as tf
from rich.console import Console

from keras_initprune.imports import needs
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.progress import Progress, end_with, kill_as_interrupt
from keras_initprune.lab.runs.results import Results
from keras_initprune.lab.study.plan import Study
from keras_initprune.quiet import quiet_tensorflow
from keras_initprune.validation import check_positive_integer


class StudyResults:
    """The runs in `FOLDER/DATASET-MODEL/results.json`.

    Raises:
        OSError: If it cannot be written.
        ValueError: If a file there does not hold runs.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._files: dict[str, Results] = {}

    def find(self, run: Configuration) -> dict[str, Any] | None:
        """Return the record of a run, or None if it has not run yet."""
        return self._file(run.dataset, run.model).find(run)

    def add(self, record: dict[str, Any]) -> None:
        """Store a finished run; it is on disk when this returns."""
        self._file(record["dataset"], record["model"]).add(record)

    def _file(self, dataset: str, model: str) -> Results:
        name = f"{dataset}-{model}"
        if name not in self._files:
            self._files[name] = Results(self.folder / name)
        return self._files[name]


# A process goes through the runs of one seed, mostly, so it keeps the data it read.
_data: dict[Any, Any] = {}


def run_study(
    study: Study,
    folder: str | Path,
    workers: int = 1,
    data_dir: str | Path | None = None,
    scheduler: str | None = None,
    console: Console | None = None,
) -> StudyResults:
    """Run what is not finished yet.

    Every run is stored at the moment it ends, so that calling this again after Ctrl-C
    or a kill goes on with what is missing. A run whose network collapses or diverges is
    stored too, with the reason as its entry `failed`.

    Args:
        study: The study, or some of its parts.
        folder: Folder of the results.
        workers: Processes that train at the same time, one thread each. With a
            scheduler, how many of its workers to ask for at a time.
        data_dir: Folder with the data, where they are trained on, see `datasets.load`.
        scheduler: Address of a Dask scheduler whose workers train. Defaults to None:
            processes of this machine.
        console: Where to show the progress. Defaults to the terminal.

    Raises:
        ValueError: If an argument is not valid, or a results file is damaged.
        OSError: If the data cannot be read or the folder cannot be written.
        ImportError: If a scheduler is given and Dask is not installed.
    """
    workers = check_positive_integer(workers, "workers")
    results = StudyResults(folder)
    missing = [run for run in study.runs if results.find(run) is None]
    done = len(study.runs) - len(missing)
    console = Console() if console is None else console
    if scheduler is None:
        for run in {run.dataset: run for run in missing}.values():
            runner.load_data(run, data_dir)  # Raises now, and not after hours.
    spreading: contextlib.AbstractContextManager[dict[str, Any]]
    spreading = contextlib.nullcontext({})
    if scheduler is not None:
        spreading = _machines(scheduler)
    elif missing and workers > 1:
        spreading = _processes(workers)
    with Progress(missing, done, console) as progress, spreading as options:
        for record in _train_all(missing, workers, data_dir, options):
            results.add(record)
            progress.finish(record)
    return results


def _train_all(
    runs: Sequence[Configuration],
    workers: int,
    data_dir: str | Path | None,
    options: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    if not runs:
        return
    parallel = joblib.Parallel(workers, return_as="generator_unordered", **options)
    tasks = (joblib.delayed(_train)(run, data_dir) for run in runs)
    with warnings.catch_warnings():
        # joblib replaces processes whose memory has grown, as TensorFlow's does.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        yield from parallel(tasks)


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[dict[str, Any]]:
    """Start processes that end with this one; yield joblib's options to use them."""
    options = {"initializer": _begin, "initargs": (os.getpid(),)}
    with kill_as_interrupt():
        with quiet_tensorflow():
            # TensorFlow starts where its notices do not disturb the progress.
            joblib.Parallel(workers, **options)(
                joblib.delayed(os.getpid)() for _ in range(workers)
            )
        yield options


@contextlib.contextmanager
def _machines(scheduler: str) -> Iterator[dict[str, Any]]:
    """Have a Dask scheduler's workers train; yield no options, as they need none."""
    with needs("cluster"):
        from distributed import Client
    with Client(scheduler), joblib.parallel_config("dask"):
        yield {}


def _begin(parent: int) -> None:
    end_with(parent)
    _use_one_thread()


def _use_one_thread() -> None:
    with contextlib.suppress(RuntimeError):  # It has computed something already.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _train(run: Configuration, data_dir: str | Path | None) -> dict[str, Any]:
    """Train one run in a process of its own, on one thread."""
    _use_one_thread()
    key = (run.dataset, data_dir, run.seed, run.validation_fraction)
    if key not in _data:
        _data.clear()
        _data[key] = runner.load_data(run, data_dir)
    try:
        return runner.attempt(run, _data[key])
    finally:
        # A long series of models would fill the memory.
        keras.backend.clear_session()
