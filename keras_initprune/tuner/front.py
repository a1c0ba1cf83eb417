"""Draws what a search found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_initprune.tuner.objectives import SPARSITY
from keras_initprune.tuner.results import SearchResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_front(
    results: SearchResults,
    dense: Mapping[str, Any] | None = None,
    axis: Axes | None = None,
) -> Axes:
    """Draw the trials with the Pareto front marked, see `plots.pareto_front`.

    Args:
        results: The results; at least one trial was completed.
        dense: Metrics of the dense reference, such as the last ones of its `history`.
            Defaults to None.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.
    """
    from keras_initprune import plots

    objective, best = results.objective, results.best()
    is_share = objective.metric_direction == "max"
    factor = 100.0 if is_share else 1.0
    records = [
        {
            "sparsity": record["metrics"][SPARSITY],
            "value": factor * objective.value(record["metrics"]),
            "front": record["front"],
            "best": record is best,
        }
        for record in results.completed
    ]
    name = objective.metric.removeprefix("val_").replace("_", " ")
    split = "Validation " if objective.metric.startswith("val_") else ""
    return plots.pareto_front(
        records,
        None if dense is None else factor * objective.value(dense),
        f"{split}{name}{' (%)' if is_share else ''}".capitalize(),
        lower_is_better=not is_share,
        axis=axis,
    )
