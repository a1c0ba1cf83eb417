"""The fitness of masks: of candidates, and against what becomes of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from keras_initprune.plots import style

# Turns of the golden angle spread dots without a pattern, the same in every figure.
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def candidate_fitness(
    records: Sequence[Mapping[str, Any]],
    label: str = "Fitness",
    axis: Axes | None = None,
) -> Axes:
    """Draw the fitness of candidate masks and of the one selected, a row per selection.

    Where the records say what the top weights would reach, fitness is shown between
    two marks that do not depend on the tensor: 0 % is the mean of the row's candidates
    and 100 % is the fitness of the top weights, as many. Otherwise it is shown as it
    is, and the differences among the candidates fill the axis.

    Args:
        records: One per row, with `label`, `candidates` (the fitness of each of the k
            masks), `selected` (that of the mask that was chosen; with `"unit"` and
            `"recombine"` it is not one of the k) and, in all of them or in none, `top`.
            They are what `selection.selection_record` returns.
        label: What fitness is, with its unit, where it is shown as it is. Defaults to
            `"Fitness"`.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If there are no records, some but not all have `top`, or a record's
            top weights are not fitter than its candidates.

    Example:
        >>> record = {"label": "Layer", "candidates": [3.0, 5.0], "selected": 5.0}
        >>> axis = candidate_fitness([{**record, "top": 14.0}])
        >>> axis.collections[-1].get_offsets().tolist()  # The winner, at 10 %.
        [[10.0, 0.0]]
    """
    with_top = sum("top" in record for record in records)
    if not records or with_top not in (0, len(records)):
        raise ValueError(
            "`records` must be at least one, and all or none with 'top'. "
            f"Received: {len(records)} records, {with_top} of them with 'top'"
        )
    axis = style.new_axis(6.4, 0.9 + 0.55 * len(records)) if axis is None else axis
    if with_top:
        axis.axvline(
            100, color=style.BLACK, linestyle=style.DASHES, label="Top weights"
        )
    for place, record in enumerate(records):
        candidates, selected = _scaled(record) if with_top else _plain(record)
        _draw_row(axis, place, candidates, selected, in_percent=bool(with_top))
    axis.set_ylim(len(records) - 0.5, -0.5)
    axis.set_yticks(range(len(records)), [record["label"] for record in records])
    axis.set_xlabel(
        "Fitness (%), from the mean random mask to the top weights"
        if with_top
        else label
    )
    style.tidy(axis)
    axis.tick_params(axis="y", length=0)
    style.legend_above(axis, columns=3)
    return axis


def _plain(record: Mapping[str, Any]) -> tuple[NDArray, float]:
    return np.asarray(record["candidates"], float), float(record["selected"])


def _scaled(record: Mapping[str, Any]) -> tuple[NDArray, float]:
    candidates, selected = _plain(record)
    mean, top = candidates.mean(), float(record["top"])
    if not top > mean:
        raise ValueError(
            "`records` must have a 'top' above the mean of 'candidates': nothing is "
            f"fitter than the top weights. Received: top={top}, mean={mean}"
        )
    scale = 100 / (top - mean)
    return scale * (candidates - mean), scale * (selected - mean)


def _draw_row(
    axis: Axes, place: int, candidates: NDArray, selected: float, in_percent: bool
) -> None:
    spread = 0.22 * np.cos(_GOLDEN_ANGLE * np.arange(len(candidates)))
    first = place == 0
    axis.scatter(
        candidates, place + spread, 26, facecolors="none", edgecolors=style.GREY,
        linewidths=1.0, label="Random masks" if first else None, zorder=2,
    )  # fmt: skip
    axis.scatter(
        [selected], [place], 70, color=style.VERMILION, marker="D", edgecolors="white",
        linewidths=0.8, label="Selected" if first else None, zorder=3,
    )  # fmt: skip
    if in_percent:
        is_left = selected < 80
        axis.annotate(
            f"{selected:.2g} %" if selected < 10 else f"{selected:.0f} %",
            (selected, place), (9 if is_left else -9, 0), va="center",
            ha="left" if is_left else "right", textcoords="offset points",
            fontsize=style.SMALL,
        )  # fmt: skip


def fitness_against_error(
    fitness: ArrayLike,
    error: ArrayLike,
    label: str = "Fitness of the mask",
    note: str = "",
    axis: Axes | None = None,
) -> Axes:
    """Draw the error of networks against the fitness of their masks, a point each.

    Args:
        fitness: One number per mask.
        error: The test error of each in %, in the same order.
        label: What the fitness is called.
        note: A line within the figure, such as a rank correlation.
        axis: Where to draw. Defaults to a new figure.

    Example:
        >>> fitness_against_error([1.0, 2.0], [4.0, 3.0]).get_ylabel()
        'Test error (%)'
    """
    axis = style.new_axis(5.0, 4.0) if axis is None else axis
    axis.scatter(fitness, error, s=26, color=style.BLUE, alpha=0.75, linewidths=0)
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlabel(label)
    axis.set_ylabel("Test error (%)")
    if note:
        axis.annotate(
            note, (0.98, 0.97), xycoords="axes fraction", ha="right", va="top",
            fontsize=style.SMALL,
        )  # fmt: skip
    style.tidy(axis, grid=True)
    return axis
