"""The table and the figure of a search, on the terminal and in files."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from keras_initprune.lab.runs.tables import markdown_table, percent
from keras_initprune.tuner.objectives import SPARSITY, SearchObjective
from keras_initprune.tuner.results import Record, SearchResults

_HEADERS = ("trial", "sparse", "value", "vs dense", "", "hyperparameters")
_MARKS = (
    "* the best for the objective, + on the Pareto front (no trial beats it in both)"
)


def rich_table(results: SearchResults, dense: Mapping[str, Any] | None = None) -> Table:
    """Return the trials as a table for 80 columns, the best in bold.

    Args:
        results: The results; at least one trial was completed.
        dense: Metrics of the dense reference. Defaults to None.
    """
    objective = results.objective
    table = Table(
        title=f"{objective.metric} against sparsity, from sparse to dense",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        caption=_MARKS,
        caption_justify="left",
    )
    for header in _HEADERS[:-1]:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column(_HEADERS[-1], overflow="fold")
    best = results.best()
    for record in ordered(results.completed):
        style = "bold" if record is best else None
        table.add_row(*_cells(record, best, objective, dense), style=style)
    for record in results.failed:
        table.add_row(record["trial"], "", "failed", "", "", record["reason"])
    return table


def markdown(results: SearchResults, dense: Mapping[str, Any] | None = None) -> str:
    """Return the same table as a Markdown document.

    Args:
        results: The results; at least one trial was completed.
        dense: Metrics of the dense reference. Defaults to None.
    """
    objective, best = results.objective, results.best()
    rows = [
        _cells(record, best, objective, dense) for record in ordered(results.completed)
    ]
    rows += [[r["trial"], "", "failed", "", "", r["reason"]] for r in results.failed]
    table = markdown_table(rows, _HEADERS, left=_HEADERS[-2:])
    return f"{objective.metric} of every trial\n\n{table}\n\n{_MARKS}.\n"


def ordered(records: Sequence[Record]) -> list[Record]:
    """Return records from sparse to dense."""
    return sorted(records, key=lambda record: -record["metrics"][SPARSITY])


def show(objective: SearchObjective, value: float, signed: bool = False) -> str:
    """Return a value of the metric as text.

    Args:
        objective: Whose metric it is.
        value: The value, or a difference of two.
        signed: Whether to show a plus.
    """
    sign = "+" if signed else ""
    if objective.metric_direction == "max":
        return f"{100 * value:{sign}.2f} %"
    return f"{value:{sign}.5f}"


def verdict(
    best: Mapping[str, Any], dense: Mapping[str, Any], objective: SearchObjective
) -> list[str]:
    """Return what was found, in lines of text: the test result and the callbacks.

    Args:
        best: The best trial, as it is stored in `best.json`.
        dense: Metrics of the dense reference.
        objective: What the search looked for.
    """
    test = next(name for name in best if name in ("test_error", "test_mse"))
    factor, unit = (100.0, " %") if test == "test_error" else (1000.0, " x 1e-3")
    lines = [
        f"Best: trial {best['trial']}, {percent(best['metrics'][SPARSITY])} sparse, "
        f"{objective.metric} {show(objective, objective.value(best['metrics']))}.",
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


def _cells(
    record: Record,
    best: Record,
    objective: SearchObjective,
    dense: Mapping[str, Any] | None,
) -> list[str]:
    value = objective.value(record["metrics"])
    difference = ""
    if dense is not None:
        difference = show(objective, value - objective.value(dense), signed=True)
    mark = "*" if record is best else "+" if record["front"] else ""
    return [
        record["trial"],
        percent(record["metrics"][SPARSITY]),
        show(objective, value),
        difference,
        mark,
        record["description"],
    ]
