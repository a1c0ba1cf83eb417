"""Reads a study's configuration file and spreads out its grids."""

import dataclasses
import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from keras_initprune.experiments import methods
from keras_initprune.experiments.configuration import Configuration, configure
from keras_initprune.validation import check_choice

_SETTINGS = {field.name for field in fields(Configuration)}
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

    def with_seeds(self, count: int | None) -> "Part":
        """Return the part with its first seeds only, or all for None."""
        if count is None:
            return self
        seeds = list(dict.fromkeys(run.seed for run in self.runs))[:count]
        kept = tuple(run for run in self.runs if run.seed in seeds)
        return dataclasses.replace(self, runs=kept)


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
        """Return the study with only some of its parts or seeds.

        Args:
            names: Names of parts; all if there are none.
            seeds: How many of each part's seeds, from the first. Defaults to all.

        Raises:
            ValueError: If a name is unknown.
        """
        known = [part.name for part in self.parts]
        for name in names:
            check_choice(name, "parts", known)
        chosen = [part for part in self.parts if not names or part.name in names]
        return Study(self.title, tuple(part.with_seeds(seeds) for part in chosen))


def read_study(path: str | Path) -> Study:
    """Read a study from a TOML file.

    The tables `every`, `models.NAME`, `methods.NAME`, `parts.NAME` and
    `parts.NAME.methods.NAME` hold settings of runs; what stands in a later one of them
    goes before the earlier ones. A list of values in a part is one axis of its grid.
    `"none"` stands for None.

    Args:
        path: The file.

    Returns:
        The study, its parts in the order of the file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not TOML, or a name or a value in it is not valid.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_names(content, _TABLES, "the file")
        parts = content.get("parts", {})
        if not parts:
            raise ValueError("There is no table `parts.NAME`")
        study = tuple(_part(name, table, content) for name, table in parts.items())
    except ValueError as error:
        raise ValueError(f"{path} is not a valid study: {error}") from error
    return Study(content.get("title", path.stem), study)


def _part(name: str, table: Mapping[str, Any], content: Mapping[str, Any]) -> Part:
    _check_names(table, _SETTINGS | _PART_ONLY, f"`parts.{name}`")
    reports = tuple(table.get("reports", ()))
    for report in reports:
        check_choice(report, "reports", REPORTS)
    settings = {key: table[key] for key in table if key in _SETTINGS}
    shared = content.get("every", {})
    _check_names(shared, _SETTINGS, "`every`")
    axes = {**{key: shared[key] for key in shared if key not in settings}, **settings}
    axes = {key: list(v) if isinstance(v, list) else [v] for key, v in axes.items()}
    axes.setdefault("method", ["dense"])
    # Seeds go round in the outer loop: a part that is stopped has compared the rest.
    order = sorted(axes, key=lambda key: key != "seed")
    own = table.get("methods", {})
    _check_names(own, axes["method"], f"`parts.{name}.methods`")
    for method, of_method in own.items():
        _check_names(of_method, _SETTINGS, f"`methods.{method}` of a part")
    runs = [
        _run(dict(zip(order, values, strict=True)), settings, own, content)
        for values in itertools.product(*(axes[key] for key in order))
    ]
    return Part(
        name,
        table.get("title", name),
        tuple(dict.fromkeys(runs)),
        tuple(table.get("rows", ["method"])),
        table.get("columns", "sparsity"),
        reports,
    )


def _run(
    values: dict[str, Any],
    of_part: Mapping[str, Any],
    of_part_methods: Mapping[str, Mapping[str, Any]],
    content: Mapping[str, Any],
) -> Configuration:
    method = values["method"]
    check_choice(method, "method", methods.METHODS)
    for kind, name in (("models", values.get("model")), ("methods", method)):
        table = content.get(kind, {}).get(name, {})
        _check_names(table, _SETTINGS, f"`{kind}.{name}`")
        values.update({key: v for key, v in table.items() if key not in of_part})
    values.update(of_part_methods.get(method, {}))
    if method == "dense":
        values["sparsity"] = 0.0
    settings: dict[str, Any] = {
        name: None if value == _NONE else value for name, value in values.items()
    }
    return configure(**settings)


def _check_names(names: Iterable[str], known: Iterable[str], where: str) -> None:
    for name in names:
        check_choice(name, f"a name in {where}", sorted(known))
