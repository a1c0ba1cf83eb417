"""What the trials of a search reached, with the Pareto front marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from keras_initprune.plots import style
from keras_initprune.plots.errors import apart, draw_dense, space_by_density


def pareto_front(
    records: Sequence[Mapping[str, Any]],
    dense: float | None = None,
    label: str = "Accuracy (%)",
    lower_is_better: bool = False,
    axis: Axes | None = None,
) -> Axes:
    """Draw what the trials of a search reached, with the Pareto front marked.

    Trials far from the front, networks that collapsed, are drawn as triangles at the
    edge, so that they do not press the others flat.

    Args:
        records: Trials with `sparsity`, `value` (in the unit of `label`), `front`
            (whether no other trial beats it in both) and, optionally, `best`.
        dense: The value of a dense network, a reference line. Defaults to None.
        label: What `value` is, with its unit.
        lower_is_better: Whether low values are good.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If there are no records.

    Example:
        >>> trial = {"sparsity": 0.95, "value": 98.1, "front": True, "best": True}
        >>> pareto_front([trial], dense=98.4).get_ylabel()
        'Accuracy (%)'
    """
    if not records:
        raise ValueError("`records` must not be empty. Received: records=[]")
    axis = style.new_axis(6.0, 4.0) if axis is None else axis
    space_by_density(axis, apart({record["sparsity"] for record in records}))
    low, high = _range_of_interest(records, dense, lower_is_better)
    far = [r for r in records if not low <= r["value"] <= high]
    near = [r for r in records if low <= r["value"] <= high]
    others = [record for record in near if not record["front"]]
    _scatter(axis, others, "o", style.GREY, "Trials", 28)
    if far:
        edge = high if lower_is_better else low
        marker = "^" if lower_is_better else "v"
        outside = [{**record, "value": edge} for record in far]
        _scatter(axis, outside, marker, style.GREY, "Beyond the axis", 40)
    front = sorted((r for r in near if r["front"]), key=lambda r: r["sparsity"])
    if front:
        axis.plot(
            [1 - record["sparsity"] for record in front],
            [record["value"] for record in front],
            color=style.VERMILION,
            marker="D",
            markersize=6,
            markeredgecolor="white",
            linewidth=1.6,
            label="Pareto front",
            zorder=3,
        )
    best = [record for record in near if record.get("best")]
    if best:
        _scatter(axis, best, "*", style.BLACK, "Best", 130, zorder=4)
    if dense is not None:
        draw_dense(axis, [dense])
    # One trial alone has no extent.
    margin = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
    axis.set_ylim(low - margin, high + margin)
    axis.set_ylabel(label)
    style.tidy(axis, grid=True)
    style.add_legend(axis)
    return axis


def _range_of_interest(
    records: Sequence[Mapping[str, Any]], dense: float | None, lower_is_better: bool
) -> tuple[float, float]:
    """Return where the front lies, and what lies no further from it than it is wide."""
    front = [record["value"] for record in records if record["front"]]
    front = front or [record["value"] for record in records]
    known = [*front, *([] if dense is None else [dense])]
    low, high = min(known), max(known)
    width = max(high - low, 1e-3 * abs(high), 1e-9)
    reach = [
        record["value"]
        for record in records
        if low - width <= record["value"] <= high + width
    ]
    worst = max(reach) if lower_is_better else min(reach)
    return (low, max(worst, high)) if lower_is_better else (min(worst, low), high)


def _scatter(
    axis: Axes,
    records: Sequence[Mapping[str, Any]],
    marker: str,
    colour: str,
    label: str,
    size: float,
    zorder: float = 2,
) -> None:
    if records:
        axis.scatter(
            [1 - record["sparsity"] for record in records],
            [record["value"] for record in records],
            s=size,
            marker=marker,
            color=colour,
            edgecolors="white",
            linewidths=0.7,
            label=label,
            zorder=zorder,
        )
