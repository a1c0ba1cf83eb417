"""Reads a study's configuration file and spreads out its grids."""

import dataclasses
import itertools
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_initprune.lab.runs import configuration, methods
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.validation import check_choice, require

_SETTINGS = configuration.CHECKS.keys()
# A table of settings for a model or a method cannot choose another one.
_CHANGEABLE = _SETTINGS - {"model", "method"}
_PART_ONLY = {"title", "rows", "columns", "reports", "methods"}
_TABLES = {"title", "every", "models", "methods", "parts"}
_NONE = "none"  # TOML has no null.
# What each report needs is said in `reports.py`.
REPORTS = (
    "error_against_sparsity",
    "lines",
    "dots",
    "paired",
    "rank_correlation",
    "price",
    "training_density",
    "effective_sparsity",
    "pca",
)


@dataclass(frozen=True)
class Part:
    """One question of a study.

    Attributes:
        name: Its name in the file.
        title: The question.
        runs: The runs that answer it, in the order in which they are run.
        rows: Settings that tell the rows of its table apart.
        columns: The setting that tells the columns apart.
        reports: Names of the reports beside the table, see `REPORTS`.
    """

    name: str
    title: str
    runs: tuple[Configuration, ...]
    rows: tuple[str, ...]
    columns: str
    reports: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A list of questions.

    Attributes:
        title: What the study is about.
        parts: The questions. Runs that several of them need are run once.
    """

    title: str
    parts: tuple[Part, ...]

    @property
    def runs(self) -> list[Configuration]:
        """All runs, each once, in the order of the parts."""
        every = itertools.chain.from_iterable(part.runs for part in self.parts)
        return list(dict.fromkeys(every))

    def choose(self, names: Sequence[str], seeds: int | None = None) -> "Study":
        """Return the study with these parts, or all, and so many of their first seeds.

        Raises:
            ValueError: If a name is unknown.
        """
        known = [part.name for part in self.parts]
        for name in names:
            check_choice(name, "parts", known)
        parts = []
        for part in self.parts:
            if not names or part.name in names:
                kept = list(dict.fromkeys(run.seed for run in part.runs))[:seeds]
                runs = tuple(run for run in part.runs if run.seed in kept)
                parts.append(dataclasses.replace(part, runs=runs))
        return Study(self.title, tuple(parts))


Table = Mapping[str, Any]


@dataclass(frozen=True)
class _Defaults:
    """What the file says of settings outside of parts."""

    every: Mapping[str, list[Any]]
    models: Mapping[str, Table]
    methods: Mapping[str, Table]


def read_study(path: str | Path) -> Study:
    """Read a study from a TOML file.

    The tables `every`, `models.NAME`, `methods.NAME`, `parts.NAME` and
    `parts.NAME.methods.NAME` hold settings of runs; what stands in a later one of them
    goes before the earlier ones. A list of values in `every` or in a part is one axis
    of its grid. `"none"` stands for None. All of the file is checked, also what no run
    uses.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not TOML, or a name or a value in it is not valid.
    """
    path = Path(path)
    try:
        return _study(tomllib.loads(path.read_text(encoding="utf-8")), path.stem)
    except ValueError as error:
        raise ValueError(f"{path} is not a valid study: {error}") from error


def _study(content: Table, name: str) -> Study:
    _check_table(content, _TABLES, "the file")
    defaults = _Defaults(
        _axes(content.get("every", {}), "`every`"),
        _of_each(content.get("models", {}), configuration.TASKS, "models"),
        _of_each(content.get("methods", {}), methods.METHODS, "methods"),
    )
    parts = content.get("parts")
    if not parts:
        raise ValueError("There is no table `parts.NAME`")
    _check_table(parts, parts, "`parts`")
    found = tuple(_part(key, table, defaults) for key, table in parts.items())
    return Study(_text(content.get("title", name), "title"), found)


def _part(name: str, table: Table, defaults: _Defaults) -> Part:
    where = f"`parts.{name}`"
    _check_table(table, _SETTINGS | _PART_ONLY, where)
    axes = _axes({key: table[key] for key in table if key in _SETTINGS}, where)
    try:
        if not name or Path(name).name != name:
            raise ValueError("the name of a part must be one of files")
        own = table.get("methods", {})
        part = Part(
            name,
            _text(table.get("title", name), "title"),
            _runs(axes, own, f"parts.{name}.methods", defaults),
            _names(table.get("rows", ["method"]), "rows", _SETTINGS),
            check_choice(table.get("columns", "sparsity"), "columns", _SETTINGS),
            _names(table["reports"], "reports", REPORTS) if "reports" in table else (),
        )
        _check_reports(part)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return part


def _runs(
    of_part: Mapping[str, list[Any]], own: Any, where: str, defaults: _Defaults
) -> tuple[Configuration, ...]:
    """Return the grid of a part whose methods have settings of their own."""
    every = {key: v for key, v in defaults.every.items() if key not in of_part}
    axes = {**every, **of_part}
    axes.setdefault("method", ["dense"])
    axes.setdefault("model", ["perceptron"])
    of_methods = _of_each(own, axes["method"], where)
    # Seeds go round in the outer loop: a part that is stopped has compared the rest.
    order = sorted(axes, key=lambda key: key != "seed")
    runs = []
    for chosen in itertools.product(*(axes[key] for key in order)):
        values = dict(zip(order, chosen, strict=True))
        model, method = values["model"], values["method"]
        for table in (defaults.models.get(model, {}), defaults.methods.get(method, {})):
            values.update({key: v for key, v in table.items() if key not in of_part})
        values.update(of_methods.get(method, {}))
        if method == "dense":
            values["sparsity"] = 0.0
        runs.append(configuration.configure(**values))
        methods.callbacks(runs[-1])  # It would be a pity to find out later.
    return tuple(dict.fromkeys(runs))


def _axes(table: Any, where: str) -> dict[str, list[Any]]:
    """Return settings, each with the list of its values."""
    _check_table(table, _SETTINGS, where)
    axes = {}
    for name, value in table.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(
                f"{where}: `{name}` must not be empty. Received: {name}=[]"
            )
        axes[name] = [_setting(name, each, where) for each in values]
    return axes


def _of_each(tables: Any, known: Iterable[str], where: str) -> dict[str, Table]:
    """Return the settings of models or methods, from name to table."""
    _check_table(tables, known, f"`{where}`")
    found: dict[str, Table] = {}
    for name, table in tables.items():
        inner = f"`{where}.{name}`"
        _check_table(table, _CHANGEABLE, inner)
        found[name] = {key: _setting(key, v, inner) for key, v in table.items()}
    return found


def _setting(name: str, value: Any, where: str) -> Any:
    try:
        return configuration.CHECKS[name](None if value == _NONE else value, name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _names(value: Any, name: str, known: Collection[str]) -> tuple[str, ...]:
    is_list = isinstance(value, list) and len(value) > 0
    require(is_list, value, name, f"a list of some of {', '.join(sorted(known))}")
    return tuple(check_choice(each, name, known) for each in value)


def _text(value: Any, name: str) -> str:
    require(isinstance(value, str), value, name, "a text")
    return value


def _check_table(table: Any, known: Iterable[str], where: str) -> None:
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} must be a table. Received: {table!r}")
    for name in table:
        check_choice(name, f"a name in {where}", sorted(known))


def _check_reports(part: Part) -> None:
    """Raise if a report cannot be made of a part's runs."""
    runs = part.runs
    if len({run.task for run in runs}) > 1:
        models = sorted({run.model for run in runs})
        raise ValueError(f"models of one part need one measure. Received: {models}")
    columns = [getattr(run, part.columns) for run in runs]
    needs = {
        "pca": (runs[0].task == configuration.RECONSTRUCTION, "`model` 'autoencoder'"),
        "rank_correlation": (
            len({run.mask_seed for run in runs} - {None}) == len(runs) > 1
            and {run.method for run in runs} <= {"random_after_epochs", "combination"},
            "runs that differ in `mask_seed`, of `method` 'random_after_epochs' or "
            "'combination'",
        ),
        "effective_sparsity": (any(run.sparsity for run in runs), "a `sparsity`"),
        "lines": (
            all(type(each) in (int, float) for each in columns),
            "numbers in `columns`",
        ),
    }
    for name in part.reports:
        met, need = needs.get(name, (True, ""))
        if not met:
            raise ValueError(
                f"the report {name!r} needs {need}. Received: reports={part.reports}"
            )
