"""Keeps the finished runs of a comparison in one file, whatever happens to it."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_initprune.files import check_writable, write_atomically
from keras_initprune.lab.claims import locked
from keras_initprune.lab.runs.configuration import CHECKS, VARIED, Configuration

FILE_NAME = "results.json"
_LOCK_NAME = ".results.lock"
_FORMAT = 2
# What a record repeats of its settings.
_REPEATED = {"dataset", "model", *VARIED, "epochs"}


class Results:
    """The runs in a folder's `results.json`.

    The file begins with what is usual among its runs, and has a line per run: its
    method, sparsity and seed, what else is not usual, and what came out. Files of
    earlier versions, lists of whole records, are read too, and `add` rewrites them.

    Every added run is on disk when `add` returns: the file is replaced as a whole, so
    that a reader or a crash never meets half of one. Several processes can add to it at
    the same time.

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
        """Raise unless the stored runs share a configuration's settings."""
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
            write_atomically(self.path, _text(self.runs))


def _text(runs: Sequence[dict[str, Any]]) -> str:
    """Return the content of a file, in which a run is a line: a new one of a diff."""
    usual: dict[str, Any] = {
        "settings": {
            name: _most_common(run["settings"][name] for run in runs)
            for name in CHECKS
            if name not in VARIED
        }
    }
    if all("versions" in run for run in runs):
        usual["versions"] = _most_common(run["versions"] for run in runs)
    shortened = (_shortened(run, usual) for run in runs)
    lines = ",\n".join(json.dumps(run, allow_nan=False) for run in shortened)
    head = f'"format": {_FORMAT},\n"usual": {json.dumps(usual)},\n'
    return f'{{\n{head}"runs": [\n{lines}\n]\n}}\n'


def _most_common(values: Iterable[Any]) -> Any:
    [(text, _)] = Counter(json.dumps(value) for value in values).most_common(1)
    return json.loads(text)


def _shortened(run: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what is usual, and what it repeats of its settings."""
    settings = run["settings"]
    repeated = {name: settings[name] for name in _REPEATED}
    return {
        "settings": _other_than(usual["settings"], settings),
        **_other_than({**usual, **repeated, "settings": settings}, run),
    }


def _other_than(said: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if name not in said or value != said[name]
    }


def _read(path: Path) -> dict[Configuration, dict[str, Any]]:
    """Return the runs of a file, in the order in which they finished."""
    if not path.exists():
        return {}
    advice = "Move it away, or choose another --out."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # Broken JSON, and bytes that are not text.
        raise ValueError(f"{path} is damaged: {error}. {advice}") from error
    try:
        runs = _whole(content)
        found = {Configuration.from_dict(run["settings"]): run for run in runs}
    except ValueError as error:
        # Whether a setting that is not known decided the outcome is not known either.
        what = f"holds runs of another version of keras_initprune: {error}"
        raise ValueError(f"{path} {what}. {advice}") from error
    except (KeyError, TypeError) as error:
        what = "is not a list of runs of a comparison"
        raise ValueError(f"{path} {what}. {advice}") from error
    # As this version writes them: what another program has as 16.0 is 16.
    return {key: {**run, "settings": key.as_dict()} for key, run in found.items()}


def _whole(content: Any) -> list[dict[str, Any]]:
    """Return the records of a file, of which earlier versions wrote a list.

    Raises:
        ValueError: If the file has a later format.
        KeyError, TypeError: If it has none, or something in it is missing.
    """
    runs, usual = content, dict[str, Any](settings={})
    if isinstance(content, dict):
        if content["format"] != _FORMAT:
            raise ValueError(f"Its format is {content['format']!r}, not {_FORMAT}")
        runs, usual = content["runs"], content["usual"]
    if not isinstance(runs, list):
        raise TypeError(f"{type(runs)} instead of a list")
    return [_completed(run, usual) for run in runs]


def _completed(run: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    if "achieved_sparsity" not in run:
        raise KeyError("achieved_sparsity")
    settings = {**usual["settings"], **run["settings"]}
    repeated = {name: settings[name] for name in _REPEATED}
    return {**usual, **repeated, **run, "settings": settings}
