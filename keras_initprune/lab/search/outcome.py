"""What a search leaves: a table, a figure, and the best network."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_initprune.files import replacing, write_atomically
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.comparison import save_figure
from keras_initprune.lab.search.settings import SearchSettings
from keras_initprune.lab.terminal import (
    make_table,
    markdown_table,
    percent,
    say,
    say_written,
)
from keras_initprune.plots.errors import measure_of
from keras_initprune.tuner.objectives import SPARSITY, SearchObjective
from keras_initprune.tuner.results import SearchResults, plot_front
from keras_initprune.tuner.tuners import PruningTuner

_HEADERS = ("trial", "sparse", "value", "vs dense", "", "hyperparameters")
_MARKS = (
    "* the best for the objective, + on the Pareto front (no trial beats it in both)"
)
_NAMES = ("trials.json", "results.md", "front.png", "best.keras", "best.json")


@dataclass(frozen=True)
class Outcome:
    """What a search found.

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

    def show(self, console: Console) -> None:
        """Print the table, how the search ended, what it found, and the files."""
        console.print(_rich_table(self.results, self.dense), "")
        verdict = _verdict(self.best, self.dense, self.results.objective)
        for line in (self.note, *verdict):
            say(console, line)
        say_written(console, self.paths)


def conclude(
    tuner: PruningTuner,
    settings: SearchSettings,
    folder: Path,
    data: Any,
    dense: Mapping[str, Any],
) -> Outcome:
    """Test the best network and write everything; no file is ever half written.

    Raises:
        ValueError: If no trial was completed.
    """
    paths = tuple(folder / name for name in _NAMES)
    trials_path, table_path, figure_path, model_path, best_path = paths
    results = SearchResults(tuner)
    write_json(trials_path, results.records)
    best = results.best()
    model = results.best_model()
    described = {
        **best,
        "meets_objective": results.meets_objective(best),
        # The test split is looked at here, once, for the network that was chosen.
        **runner.evaluate(model, settings.run, data, "test"),
        "callbacks": results.describe_callbacks(),
        "dense": dense,
        "settings": settings.identity,
        "versions": runner.versions(),
    }
    write_atomically(table_path, _markdown(results, dense))
    save_figure(plot_front(results, dense), figure_path)
    with replacing(model_path) as temporary:
        model.save(temporary)
    write_json(best_path, described)
    return Outcome(results, dense, described, paths, _note(tuner, settings.trials))


def _note(tuner: PruningTuner, wanted: int) -> str:
    done = len(tuner.oracle.end_order)
    counted = f"{done} of {wanted} trials"
    if done >= wanted:
        return f"The search is over: {counted}."
    if tuner.oracle.has_only_failures:
        return f"The search gave up after {counted}: the last ones all failed."
    if tuner.oracle.is_stopped:
        return f"The time is over after {counted}. The same command goes on."
    return f"The search is over after {counted}: there is nothing else to try."


def write_json(path: Path, content: Any, **options: Any) -> None:
    """Write a JSON file, for people to read, too."""
    write_atomically(path, json.dumps(content, indent=1, **options) + "\n")


def _rich_table(results: SearchResults, dense: Mapping[str, Any]) -> Table:
    """Return the trials as a table for 80 columns, the best in bold."""
    title = f"{results.objective.metric} against sparsity, from sparse to dense"
    table = make_table(_HEADERS, folded=_HEADERS[-1:], title=title, caption=_MARKS)
    best = results.best()["trial"]
    for cells in _lines(results, dense):
        table.add_row(*cells, style="bold" if cells[0] == best else None)
    return table


def _markdown(results: SearchResults, dense: Mapping[str, Any]) -> str:
    """Return the same table as a Markdown document."""
    table = markdown_table(list(_lines(results, dense)), _HEADERS, left=_HEADERS[-2:])
    return f"{results.objective.metric} of every trial\n\n{table}\n\n{_MARKS}.\n"


def shown(objective: SearchObjective, value: float, signed: bool = False) -> str:
    """Return a value of the metric as text."""
    sign = "+" if signed else ""
    if objective.metric_direction == "max":
        return f"{100 * value:{sign}.2f} %"
    return f"{value:{sign}.5f}"


def _verdict(
    best: Mapping[str, Any], dense: Mapping[str, Any], objective: SearchObjective
) -> list[str]:
    """Return what was found, in lines of text: the test result and the callbacks."""
    measure = measure_of([best, dense])
    test, factor = measure.key, measure.factor
    unit = " %" if test == "test_error" else " x 1e-3"
    lines = [
        f"Best: trial {best['trial']}, {percent(best['metrics'][SPARSITY])} sparse, "
        f"{objective.metric} {shown(objective, objective.value(best['metrics']))}.",
        f"On the test split: {test.replace('_', ' ')} "
        f"{factor * best[test]:.3g}{unit}, dense {factor * dense[test]:.3g}{unit}.",
        f"Its callbacks: {', '.join(map(_call, best['callbacks']))}",
    ]
    if not best["meets_objective"]:
        lines.insert(1, "No trial met the objective; this one came closest.")
    return lines


def _call(described: Mapping[str, Any]) -> str:
    arguments = {
        name: value
        for name, value in described.items()
        if name != "callback" and value is not None and value is not False
    }
    listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{described['callback']}({listed})"


def _lines(results: SearchResults, dense: Mapping[str, Any]) -> Iterator[list[str]]:
    """Return the cells of the trials from sparse to dense, and of those that failed."""
    objective, best = results.objective, results.best()
    completed = sorted(results.completed, key=lambda each: -each["metrics"][SPARSITY])
    for record in completed:
        value = objective.value(record["metrics"])
        yield [
            record["trial"],
            percent(record["metrics"][SPARSITY]),
            shown(objective, value),
            shown(objective, value - objective.value(dense), signed=True),
            "*" if record is best else "+" if record["front"] else "",
            record["description"],
        ]
    for record in results.failed:
        yield [record["trial"], "", "failed", "", "", record["reason"]]
