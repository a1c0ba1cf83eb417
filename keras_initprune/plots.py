"""Figures of comparisons and masks, drawn from plain records and arrays.

Every function draws into the axis that it is given, or into a new figure, and returns
the axis. Nothing here touches matplotlib's global state, so the figures come out the
same in scripts, notebooks and tests. `axis.figure.savefig(...)` writes them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike

from keras_initprune.intervals import mean_and_half_width
from keras_initprune.validation import check_positive_integer

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_BLACK, _BLUE, _SKY = "#000000", "#0072B2", "#56B4E9"
_STYLES = {
    "random": ("#E69F00", "s", "Random"),
    "k_starts": (_SKY, "^", "K-starts"),
    "dissipating_gradients": ("#009E73", "o", "Dissipating gradients"),
    "combination": ("#D55E00", "D", "Combination"),
}
_MORE_STYLES = ((_BLUE, "v"), ("#CC79A7", "P"), ("#999999", "X"), ("#F0E442", "*"))


def error_against_sparsity(
    records: Sequence[Mapping[str, Any]], axis: Axes | None = None
) -> Axes:
    """Draw the test error of every method against sparsity.

    Points are means over seeds with their 95 % t-intervals; the dense runs are a
    reference line with a band. Sparsities are spaced by the logarithm of what is left,
    so that 90, 95 and 98 % do not crowd together, and errors on a logarithmic scale
    where they lie far apart.

    Args:
        records: Runs with `method`, `sparsity`, `seed` and either `test_error` (a
            fraction, shown in %) or `test_mse`.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: If the records have no common measure.

    Example:
        >>> run = {"method": "random", "sparsity": 0.9, "seed": 0, "test_error": 0.04}
        >>> error_against_sparsity([run]).get_ylabel()
        'Test error (%)'
    """
    key, factor, label = _measure(records)
    axis = _new_axis((6.0, 4.0)) if axis is None else axis
    values: dict[str, dict[float, list[float]]] = {}
    for record in records:
        of_method = values.setdefault(record["method"], {})
        of_method.setdefault(record["sparsity"], []).append(factor * record[key])
    dense = values.pop("dense", {})
    methods = sorted(values, key=_place)
    _space_by_density(
        axis, {sparsity for group in values.values() for sparsity in group}
    )
    for index, method in enumerate(methods):
        # Side by side, or the intervals of good methods hide each other.
        step = min(0.035, 0.12 / len(methods))
        dodge = 1 + step * (index - (len(methods) - 1) / 2)
        _draw_method(axis, method, values[method], dodge, _style(method, methods))
    if dense:
        _draw_dense(axis, [value for group in dense.values() for value in group])
    every = [value for of in (*values.values(), dense) for value in of.values()]
    _scale_errors(axis, [float(np.mean(group)) for group in every])
    axis.set_ylabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    return axis


def density_per_layer(
    rows: Sequence[Mapping[str, Any]], axis: Axes | None = None
) -> Axes:
    """Draw the share of weights that every tensor keeps.

    Args:
        rows: One per tensor, with `path`, `parameters`, `kept` and, optionally,
            `effective`: how many of them are on a path from input to output.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: If there are no rows.

    Example:
        >>> row = {"path": "hidden/kernel", "parameters": 200, "kept": 10}
        >>> density_per_layer([row]).get_xlabel()
        'Weights kept (%)'
    """
    if not rows:
        raise ValueError("`rows` must not be empty. Received: rows=[]")
    axis = _new_axis((6.0, 0.9 + 0.42 * len(rows))) if axis is None else axis
    places = np.arange(len(rows))
    total = np.array([row["parameters"] for row in rows], float)
    kept = np.array([row["kept"] for row in rows], float)
    effective = np.array([row.get("effective", row["kept"]) for row in rows])
    dead = bool(np.any(effective < kept))
    axis.barh(places, 100 * kept / total, 0.62, color=_SKY, label="Kept")
    if dead:
        axis.barh(places, 100 * effective / total, 0.3, color=_BLUE, label="In effect")
        above = (1.0, 1.0)
        axis.legend(
            frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=above, ncols=2
        )
    for place, row in zip(places, rows, strict=True):
        share = 100 * row["kept"] / row["parameters"]
        text = f"{share:.3g} %  ({row['kept']:,} of {row['parameters']:,})"
        axis.annotate(
            text, (share, place), (4, 0), textcoords="offset points", va="center",
            fontsize=9,
        )  # fmt: skip
    axis.set_yticks(places, [row["path"] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("Weights kept (%)")
    axis.margins(x=0.6)  # Room for the numbers beside the longest bar.
    axis.set_xlim(left=0)
    axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= 100])
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return axis


def mask_images(
    mask: ArrayLike,
    image_shape: Sequence[int],
    units: Sequence[int] | None = None,
    columns: int = 8,
    axis: Axes | None = None,
) -> Axes:
    """Draw which pixels the units of a first layer read, one small image per unit.

    Args:
        mask: Mask or weights of the shape (pixels, units); what is not 0 is kept.
        image_shape: Height and width, and possibly one channel.
        units: Which units to draw. Defaults to the first four rows' worth.
        columns: Images side by side.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: If the mask's first axis is not the number of pixels, or a unit
            does not exist.

    Example:
        >>> axis = mask_images(np.eye(4), (2, 2), columns=2)
        >>> axis.images[0].get_array().shape
        (7, 7)
    """
    kept = np.asarray(mask) != 0
    height, width = image_shape[:2]
    if kept.ndim != 2 or kept.shape[0] != height * width:
        raise ValueError(
            f"`mask` must have the shape ({height * width}, units) for images of "
            f"{height} x {width} pixels. Received: shape={kept.shape}"
        )
    check_positive_integer(columns, "columns")
    chosen = list(range(kept.shape[1]))[: 4 * columns] if units is None else list(units)
    if not chosen or not all(0 <= unit < kept.shape[1] for unit in chosen):
        raise ValueError(
            f"`units` must be indices below {kept.shape[1]}, at least one. "
            f"Received: units={units!r}"
        )
    columns = min(columns, len(chosen))
    lines = math.ceil(len(chosen) / columns)
    # 0 is a removed weight, 1 a kept one, and 2 the frame between the images.
    mosaic = np.full((lines * (height + 1) + 1, columns * (width + 1) + 1), 2)
    for index, unit in enumerate(chosen):
        top = index // columns * (height + 1) + 1
        left = index % columns * (width + 1) + 1
        image = kept[:, unit].reshape(height, width)
        mosaic[top : top + height, left : left + width] = image
    axis = _new_axis((6.0, 6.0 * lines / columns)) if axis is None else axis
    colours = ListedColormap(["#FFFFFF", _BLUE, "#BFBFBF"])
    axis.imshow(mosaic, cmap=colours, vmin=0, vmax=2, interpolation="nearest")
    axis.set_axis_off()
    return axis


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

    Returns:
        The axis.

    Raises:
        ValueError: If there are no records.

    Example:
        >>> trial = {"sparsity": 0.95, "value": 98.1, "front": True, "best": True}
        >>> pareto_front([trial], dense=98.4).get_ylabel()
        'Accuracy (%)'
    """
    if not records:
        raise ValueError("`records` must not be empty. Received: records=[]")
    axis = _new_axis((6.0, 4.0)) if axis is None else axis
    _space_by_density(axis, _apart({record["sparsity"] for record in records}))
    low, high = _range_of_interest(records, dense, lower_is_better)
    far = [r for r in records if not low <= r["value"] <= high]
    near = [r for r in records if low <= r["value"] <= high]
    others = [record for record in near if not record["front"]]
    _scatter(axis, others, "o", "#999999", "Trials", 28)
    if far:
        edge = high if lower_is_better else low
        marker = "^" if lower_is_better else "v"
        outside = [{**record, "value": edge} for record in far]
        _scatter(axis, outside, marker, "#999999", "Beyond the axis", 40)
    front = sorted((r for r in near if r["front"]), key=lambda r: r["sparsity"])
    if front:
        axis.plot(
            [1 - record["sparsity"] for record in front],
            [record["value"] for record in front],
            color="#D55E00",
            marker="D",
            markersize=6,
            markeredgecolor="white",
            linewidth=1.6,
            label="Pareto front",
            zorder=3,
        )
    best = [record for record in near if record.get("best")]
    if best:
        _scatter(axis, best, "*", _BLACK, "Best", 130, zorder=4)
    if dense is not None:
        _draw_dense(axis, [dense])
    margin = 0.06 * (high - low)
    axis.set_ylim(low - margin, high + margin)
    axis.grid(axis="y", color="#D9D9D9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_ylabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    return axis


def _apart(sparsities: Collection[float]) -> list[float]:
    """Return sparsities to label, so far apart that the labels do not overlap."""
    chosen: list[float] = []
    for sparsity in sorted(sparsities):
        if not chosen or math.log((1 - chosen[-1]) / (1 - sparsity)) > 0.12:
            chosen.append(round(sparsity, 3))
    return chosen


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


def _new_axis(size: tuple[float, float]) -> Axes:
    return Figure(figsize=size, dpi=200, layout="constrained").subplots()


def _measure(records: Sequence[Mapping[str, Any]]) -> tuple[str, float, str]:
    for key, factor, label in (
        ("test_error", 100.0, "Test error (%)"),
        ("test_mse", 1000.0, r"Test mean squared error ($\times$ 1000)"),
    ):
        if records and all(key in record for record in records):
            return key, factor, label
    raise ValueError(
        "`records` must be runs that all have 'test_error' or all have 'test_mse'. "
        f"Received: {len(records)} records"
    )


def _place(method: str) -> tuple[int, str]:
    known = list(_STYLES)
    return (known.index(method) if method in known else len(known), method)


def _style(method: str, methods: Sequence[str]) -> tuple[str, str, str]:
    if method in _STYLES:
        return _STYLES[method]
    others = [name for name in methods if name not in _STYLES]
    colour, marker = _MORE_STYLES[others.index(method) % len(_MORE_STYLES)]
    return colour, marker, method.replace("_", " ").capitalize()


def _draw_method(
    axis: Axes,
    method: str,
    groups: Mapping[float, Sequence[float]],
    dodge: float,
    style: tuple[str, str, str],
) -> None:
    colour, marker, label = style
    sparsities = sorted(groups)
    intervals = [mean_and_half_width(groups[sparsity]) for sparsity in sparsities]
    means, half_widths = zip(*intervals, strict=True)
    axis.errorbar(
        [(1 - sparsity) * dodge for sparsity in sparsities],
        means,
        np.nan_to_num(half_widths),
        label=label,
        color=colour,
        marker=marker,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.7,
        linewidth=1.6,
        elinewidth=1.2,
        capsize=2.5,
        zorder=4 if method == "combination" else 3,
    )


def _draw_dense(axis: Axes, values: Sequence[float]) -> None:
    mean, half_width = mean_and_half_width(values)
    axis.axhline(mean, color=_BLACK, linewidth=1.2, linestyle=(0, (5, 2)), zorder=2)
    if not math.isnan(half_width):
        low, high = mean - half_width, mean + half_width
        axis.axhspan(low, high, color=_BLACK, alpha=0.1, linewidth=0, zorder=1)
    axis.plot([], [], color=_BLACK, linewidth=1.2, linestyle=(0, (5, 2)), label="Dense")


def _scale_errors(axis: Axes, means: Sequence[float]) -> None:
    # One collapsed method must not press all others flat.
    if min(means) > 0 and max(means) > 6 * min(means):
        axis.set_yscale("log", nonpositive="clip")
        low, high = min(means) / 1.6, max(max(means) * 1.3, axis.get_ylim()[1])
        axis.set_ylim(low, high)
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(axis="y", color="#D9D9D9", linewidth=0.6)
    axis.set_axisbelow(True)


def _space_by_density(axis: Axes, sparsities: Collection[float]) -> None:
    axis.set_xscale("log")
    densities = sorted(1 - sparsity for sparsity in sparsities)
    if densities:
        # The limits come first: points of one sparsity alone have no extent.
        axis.set_xlim(densities[-1] * 1.25, densities[0] / 1.25)
    axis.xaxis.set_major_locator(FixedLocator(densities))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda density, _: f"{round(100 * (1 - density), 3):g} %")
    )
    axis.set_xlabel("Sparsity")
