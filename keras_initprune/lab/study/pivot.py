"""Tables of a part's runs: settings down, a setting across, means with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_initprune.lab.study.plan import Part
from keras_initprune.lab.terminal import markdown_table, percent
from keras_initprune.plots.errors import Measure
from keras_initprune.plots.intervals import mean_and_half_width

Records = Sequence[Mapping[str, Any]]
Cells = dict[tuple[str, ...], dict[Any, list[Mapping[str, Any]]]]


def pivot(part: Part, runs: Records) -> Cells:
    """Return a part's runs by row and column, in the order of its grid.

    Returns:
        From the settings that name a row, as text, to the column's value, to runs.
    """
    order = [run.as_dict() for run in part.runs]
    cells: Cells = {}
    for run in sorted(runs, key=lambda run: order.index(run["settings"])):
        settings = run["settings"]
        row = tuple(label(name, settings[name]) for name in part.rows)
        cells.setdefault(row, {}).setdefault(settings[part.columns], []).append(run)
    return cells


def table(part: Part, runs: Records, measure: Measure) -> str:
    """Return a Markdown table of means with their 95 % t-intervals."""
    cells = pivot(part, runs)
    found_columns = {column for row in cells.values() for column in row}
    columns = sorted(found_columns, key=lambda value: (value is not None, value))
    lines = {row: list(row) for row in cells}
    for column in columns:
        means = {
            row: mean_and_half_width([run[measure.key] for run in of_row[column]])
            for row, of_row in cells.items()
            if column in of_row
        }
        lowest = min(mean for mean, _ in means.values())
        for row, line in lines.items():
            mean, half_width = means.get(row, (math.nan, math.nan))
            text = measure.show(mean, half_width)
            is_best = len(means) > 1 and mean == lowest
            line.append(f"**{text}**" if is_best else text)
    headers = [*part.rows, *(label(part.columns, column) for column in columns)]
    return markdown_table(list(lines.values()), headers, left=part.rows)


def label(name: str, value: Any) -> str:
    """Return a setting's value as text.

    Example:
        >>> label("sparsity", 0.95), label("sparsity", 0.0), label("k", 16)
        ('95 %', 'dense', '16')
    """
    if name == "sparsity":
        return percent(value) if value else "dense"
    return "none" if value is None else str(value)
