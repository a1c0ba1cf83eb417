"""The summary of a comparison as a table, on the terminal and in Markdown."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import tabulate
from rich.table import Table

from keras_initprune.lab.runs.summary import (
    Summary,
    completed,
    summarise,
)
from keras_initprune.lab.terminal import make_table
from keras_initprune.plots.errors import Measure, measure_of

_HEADERS = ("sparse", "method", "mean ± 95 %", "vs dense", "counted", "time")


def rich_table(runs: Sequence[dict[str, Any]]) -> Table:
    """Return the summary as a table for the terminal, the best of a sparsity in bold.

    It fits 80 columns.

    Args:
        runs: Records of one comparison; those that failed are left out.

    Raises:
        ValueError: If no run was completed.
    """
    runs = completed(runs)
    measure, summaries = measure_of(runs), summarise(runs)
    title, caption = _title(runs, measure), _caution(runs)
    table = make_table(_HEADERS, left=("method",), title=title, caption=caption)
    best = _best(summaries)
    for summary, following in pairwise([*summaries, None]):
        assert summary is not None
        table.add_row(
            *_cells(summary, measure),
            style="bold" if summary in best else None,
            end_section=following is None or following.sparsity != summary.sparsity,
        )
    return table


def markdown(runs: Sequence[dict[str, Any]]) -> str:
    """Return the summary as Markdown: a table, and a line for every run that failed."""
    found = completed(runs)
    table = [_markdown(found)] if found else []
    return "\n\n".join([*table, *failures(runs)]) + "\n"


def failures(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for every run that failed, with the reason.

    Example:
        >>> run = {"method": "snip", "sparsity": 0.99, "seed": 0, "failed": "No path."}
        >>> failures([run])
        ['snip at 99 %, seed 0, failed: No path.']
    """
    return [
        f"{run['method']} at {percent(run['sparsity'], digits=6)}, "
        f"seed {run['seed']}, failed: {run['failed']}"
        for run in runs
        if "failed" in run
    ]


def _markdown(runs: Sequence[dict[str, Any]]) -> str:
    measure, summaries = measure_of(runs), summarise(runs)
    best = _best(summaries)
    rows = []
    for summary in summaries:
        cells = _cells(summary, measure)
        if summary in best:
            cells[2] = f"**{cells[2]}**"
        rows.append(cells)
    table = markdown_table(rows, _HEADERS, left=("method",))
    if caution := _caution(runs):
        table = f"{table}\n\n{caution}"
    return f"{_title(runs, measure)}\n\n{table}\n\n{_NOTE}"


_NOTE = (
    '"vs dense" is the mean difference to the dense runs of the same seeds, with its '
    '95 % interval; "counted" is the share of zeros among the trained weights.'
)


def markdown_table(
    lines: Sequence[Sequence[str]], headers: Sequence[str], left: Collection[str]
) -> str:
    """Return lines of text as a Markdown table, columns of numbers to the right.

    Args:
        lines: The cells, line by line.
        headers: The columns' names.
        left: Those of them whose cells stand at the left.

    Example:
        >>> print(markdown_table([["snip", "4.34"]], ["method", "98 %"], ["method"]))
        | method   |   98 % |
        |----------|--------|
        | snip     |   4.34 |
    """
    return tabulate.tabulate(
        lines,
        headers,
        tablefmt="github",
        colalign=["left" if header in left else "right" for header in headers],
        disable_numparse=True,
    )


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction as a percentage without trailing zeros.

    Example:
        >>> percent(0.95), percent(0.995)
        ('95 %', '99.5 %')
        >>> percent(-1e-9)
        '0 %'
    """
    return f"{round(100 * fraction, digits):zg} %"


def _title(runs: Sequence[dict[str, Any]], measure: Measure) -> str:
    first = runs[0]
    seeds = len({run["seed"] for run in runs})
    plural = "" if seeds == 1 else "s"
    return (
        f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: "
        f"{measure.label}, {seeds} seed{plural}"
    )


def _caution(runs: Sequence[dict[str, Any]]) -> str | None:
    """Return what to know about a data set that is too small."""
    if runs[0]["dataset"] != "digits":
        return None
    return (
        "digits has 360 test images, too few to rank methods: mnist and fashion_mnist "
        "have 10,000."
    )


def _best(summaries: Sequence[Summary]) -> list[Summary]:
    """Return the lowest mean of each sparsity that has something to choose from."""
    best = []
    for sparsity in sorted({summary.sparsity for summary in summaries}):
        rivals = [summary for summary in summaries if summary.sparsity == sparsity]
        if len(rivals) > 1:
            best.append(min(rivals, key=lambda summary: summary.mean))
    return best


def _cells(summary: Summary, measure: Measure) -> list[str]:
    return [
        percent(summary.sparsity),
        summary.method,
        measure.show(summary.mean, summary.half_width),
        measure.show(summary.difference, summary.difference_half_width, sign="+"),
        percent(summary.achieved_sparsity, digits=3),
        f"{summary.seconds:.1f} s",
    ]
