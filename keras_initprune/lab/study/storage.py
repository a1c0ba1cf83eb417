"""Keeps the finished runs of a study, one file per data set and model."""

from pathlib import Path
from typing import Any

from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.results import Results


class StudyResults:
    """The runs in `FOLDER/DATASET-MODEL/results.json`.

    Args:
        folder: Folder of the study's results.

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
