"""Boils the runs of a comparison down to one line per method and sparsity: a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from rich.table import Table

from keras_initprune.lab.runs.methods import METHODS
from keras_initprune.lab.terminal import make_table, markdown_table, percent
from keras_initprune.plots.errors import Measure, measure_of
from keras_initprune.plots.intervals import mean_and_half_width


@dataclass(frozen=True)
class Summary:
    """One method at one sparsity, over its seeds.

    Attributes:
        method: Name of the method.
        sparsity: The sparsity that was asked for.
        achieved_sparsity: The mean of what was counted.
        seeds: Number of runs.
        mean: Mean of the test measure.
        half_width: Half-width of its 95 % interval; NaN for one seed.
        difference: Mean paired difference to the dense runs of the same seeds; NaN
            where there are none.
        difference_half_width: Half-width of its 95 % interval; NaN below two pairs.
        seconds: Mean time of a run.
    """

    method: str
    sparsity: float
    achieved_sparsity: float
    seeds: int
    mean: float
    half_width: float
    difference: float
    difference_half_width: float
    seconds: float


def completed(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs that came to an end, and so have measures.

    Example:
        >>> completed([{"failed": "The loss became nan."}, {"test_error": 0.02}])
        [{'test_error': 0.02}]
    """
    return [run for run in runs if "failed" not in run]


def summarise(runs: Sequence[dict[str, Any]]) -> list[Summary]:
    """Return one summary per method and sparsity.

    Returns:
        The summaries by rising sparsity, methods in the order of `METHODS`.

    Raises:
        ValueError: If the runs have no common measure.
    """
    key = measure_of(runs).key
    order = list(METHODS)
    groups: dict[tuple[float, int, str], list[dict[str, Any]]] = {}
    for run in runs:
        method = run["method"]
        place = order.index(method) if method in order else len(order)
        groups.setdefault((run["sparsity"], place, method), []).append(run)
    dense = {run["seed"]: run[key] for run in runs if run["method"] == "dense"}
    return [_summary(groups[group], key, dense) for group in sorted(groups)]


def _summary(
    runs: Sequence[dict[str, Any]], key: str, dense: dict[int, float]
) -> Summary:
    mean, half_width = mean_and_half_width([run[key] for run in runs])
    difference = difference_half_width = math.nan
    pairs = [run[key] - dense[run["seed"]] for run in runs if run["seed"] in dense]
    if pairs and runs[0]["method"] != "dense":
        difference, difference_half_width = mean_and_half_width(pairs)
    return Summary(
        method=runs[0]["method"],
        sparsity=runs[0]["sparsity"],
        achieved_sparsity=fmean(run["achieved_sparsity"] for run in runs),
        seeds=len(runs),
        mean=mean,
        half_width=half_width,
        difference=difference,
        difference_half_width=difference_half_width,
        seconds=fmean(run["seconds"] for run in runs),
    )


_HEADERS = ("sparse", "method", "mean ± 95 %", "vs dense", "counted", "time")


def rich_table(runs: Sequence[dict[str, Any]]) -> Table:
    """Return the summary as a table for the terminal, the best of a sparsity in bold.

    It fits 80 columns.

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
    table = _markdown(found) if found else []
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


def _markdown(runs: Sequence[dict[str, Any]]) -> list[str]:
    measure, summaries = measure_of(runs), summarise(runs)
    best = _best(summaries)
    rows = []
    for summary in summaries:
        cells = _cells(summary, measure)
        if summary in best:
            cells[2] = f"**{cells[2]}**"
        rows.append(cells)
    table = markdown_table(rows, _HEADERS, left=("method",))
    parts = (_title(runs, measure), table, _caution(runs), _NOTE)
    return [part for part in parts if part]


_NOTE = (
    '"vs dense" is the mean difference to the dense runs of the same seeds, with its '
    '95 % interval; "counted" is the share of zeros among the trained weights.'
)


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
