"""Boils the runs of a comparison down to one line per method and sparsity."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_initprune.lab.runs.methods import METHODS
from keras_initprune.plots.errors import measure_of
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
        achieved_sparsity=_mean(runs, lambda run: run["achieved_sparsity"]),
        seeds=len(runs),
        mean=mean,
        half_width=half_width,
        difference=difference,
        difference_half_width=difference_half_width,
        seconds=_mean(runs, lambda run: run["seconds"]),
    )


def _mean(
    runs: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float]
) -> float:
    return math.fsum(map(value, runs)) / len(runs)
