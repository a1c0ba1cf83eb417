"""Keeps the finished runs of a comparison in one file, whatever happens to it."""

import json
from pathlib import Path
from typing import Any

from keras_initprune.files import check_writable, write_atomically
from keras_initprune.lab.claims import locked
from keras_initprune.lab.runs.configuration import VARIED, Configuration

FILE_NAME = "results.json"
_LOCK_NAME = ".results.lock"
_REQUIRED = {"dataset", "model", *VARIED, "achieved_sparsity", "epochs", "settings"}


class Results:
    """The runs in a folder's `results.json`, a list of records.

    Every added run is on disk when `add` returns: the file is replaced as a whole, so
    that a reader or a crash never meets half of one. Several processes can add to it at
    the same time.

    Args:
        folder: Folder of the file. It is made if it is missing.

    Raises:
        OSError: If the folder cannot be written.
        ValueError: If the file there does not hold such runs.

    Example:
        >>> import tempfile
        >>> results = Results(tempfile.mkdtemp())
        >>> results.runs
        []
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.path = self.folder / FILE_NAME
        check_writable(self.folder)
        self._runs = _read(self.path)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The records, in the order in which they finished."""
        return list(self._runs.values())

    def find(self, configuration: Configuration) -> dict[str, Any] | None:
        """Return the record of a configuration, or None if it has not run yet."""
        return self._runs.get(configuration)

    def check_same_comparison(self, configuration: Configuration) -> None:
        """Raise unless the stored runs share a configuration's settings.

        Raises:
            ValueError: If a setting other than method, sparsity and seed differs.
        """
        for run in self.runs:
            for name, value in configuration.shared.items():
                stored = run["settings"][name]
                if stored != value:
                    raise ValueError(
                        f"{self.path} holds runs with {name}={stored!r}, and this "
                        f"comparison has {name}={value!r}. Choose another --out."
                    )

    def add(self, run: dict[str, Any]) -> None:
        """Store a finished run."""
        with locked(self.folder / _LOCK_NAME):
            # Another process may have finished runs of the same comparison meanwhile.
            self._runs = _read(self.path)
            configuration = Configuration.from_dict(run["settings"])
            self._runs.pop(configuration, None)
            self._runs[configuration] = run
            # A run per line: it can be read by eye, a new one is a line of a diff.
            lines = ",\n".join(json.dumps(run, allow_nan=False) for run in self.runs)
            write_atomically(self.path, f"[\n{lines}\n]\n")


def _read(path: Path) -> dict[Configuration, dict[str, Any]]:
    """Return the runs of a file, in the order in which they finished."""
    if not path.exists():
        return {}
    advice = "Move it away, or choose another --out."
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # Broken JSON, and bytes that are not text.
        raise ValueError(f"{path} is damaged: {error}. {advice}") from error
    if not isinstance(runs, list) or not all(_is_run(run) for run in runs):
        raise ValueError(f"{path} is not a list of runs of a comparison. {advice}")
    try:
        found = {Configuration.from_dict(run["settings"]): run for run in runs}
    except ValueError as error:
        # Whether a setting that is not known decided the outcome is not known either.
        raise ValueError(
            f"{path} holds runs of another version of keras_initprune: {error}. "
            f"{advice}"
        ) from error
    # As this version writes them: what another program has as 16.0 is 16.
    return {key: {**run, "settings": key.as_dict()} for key, run in found.items()}


def _is_run(run: Any) -> bool:
    return (
        isinstance(run, dict)
        and run.keys() >= _REQUIRED
        and isinstance(run["settings"], dict)
    )
