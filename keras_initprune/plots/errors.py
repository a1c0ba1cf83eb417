"""Test errors of methods, as lines with intervals against sparsity or any setting."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from keras_initprune.plots.intervals import (
    drawn_interval,
    label_logarithms,
    needs_logarithm,
)
from keras_initprune.plots.style import (
    BLACK,
    DASHES,
    MethodStyle,
    add_legend,
    in_order,
    method_styles,
    new_axis,
    tidy,
)


@dataclass(frozen=True)
class Measure:
    """How the outcome of a run is read, named and shown.

    Attributes:
        factor: What to multiply it with for its unit.
        digits: Decimals to show.
        key: Entry of the record.
        label: What to call it, with its unit.
        title: What to call it beside an axis.
    """

    factor: float
    digits: int = 2
    key: str = ""
    label: str = ""
    title: str = ""

    def show(self, value: float, half_width: float, sign: str = "") -> str:
        """Return a value and its interval as text; empty where it is not known.

        Example:
            >>> MEASURES[0].show(0.0162, 0.0011)
            '1.62 ± 0.11'
            >>> MEASURES[0].show(-1e-9, float("nan"), sign="+")
            '+0.00'
        """
        if math.isnan(value):
            return ""
        text = f"{value * self.factor:{sign}z.{self.digits}f}"
        if math.isnan(half_width):
            return text
        return f"{text} ± {half_width * self.factor:.{self.digits}f}"


MEASURES = (
    Measure(100.0, 2, "test_error", "test error in %", "Test error (%)"),
    Measure(
        1000.0,
        2,
        "test_mse",
        "test mean squared error x 1000",
        r"Test mean squared error ($\times$ 1000)",
    ),
)


def measure_of(records: Sequence[Mapping[str, Any]]) -> Measure:
    """Return the measure that all of the runs have.

    Raises:
        ValueError: If there is no such measure.

    Example:
        >>> measure_of([{"test_mse": 0.016}]).key
        'test_mse'
    """
    for measure in MEASURES:
        if records and all(measure.key in record for record in records):
            return measure
    raise ValueError(
        "`records` must be runs that all have 'test_error' or all have 'test_mse'. "
        f"Received: {len(records)} records"
    )


def draw_line(
    axis: Axes,
    places: Sequence[float],
    values: Sequence[Sequence[float]],
    style: MethodStyle,
) -> None:
    """Draw means with their 95 % t-intervals, from three values on."""
    means, half_widths = zip(*map(drawn_interval, values), strict=True)
    solid = style.line == "-"
    axis.errorbar(
        places,
        means,
        half_widths,
        label=style.label,
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        markersize=7,
        markeredgecolor=style.colour if style.is_stroke else "white",
        markeredgewidth=1.4 if style.is_stroke else 0.7,
        linewidth=1.6 if solid else 1.2,
        elinewidth=1.2,
        capsize=2.5,
        zorder=4 if solid else 3,
    )


def space_by_density(axis: Axes, sparsities: Collection[float]) -> None:
    """Space sparsities by the logarithm of what is left, from dense to sparse.

    The axis is one of densities: draw a sparsity at `1 - sparsity`.
    """
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


def apart(sparsities: Collection[float]) -> list[float]:
    """Return sparsities to label, so far apart that the labels do not overlap.

    Example:
        >>> apart([0.95, 0.951, 0.9])
        [0.9, 0.95]
    """
    chosen: list[float] = []
    for sparsity in sorted(sparsities):
        if not chosen or math.log((1 - chosen[-1]) / (1 - sparsity)) > 0.12:
            chosen.append(round(sparsity, 3))
    return chosen


def draw_dense(axis: Axes, values: Sequence[float]) -> None:
    """Draw dense networks as a dashed line at their mean, with a band from three on."""
    mean, half_width = drawn_interval(values)
    look: dict[str, Any] = {"color": BLACK, "linewidth": 1.2, "linestyle": DASHES}
    axis.axhline(mean, zorder=2, **look)
    if half_width:
        low, high = mean - half_width, mean + half_width
        axis.axhspan(low, high, color=BLACK, alpha=0.1, linewidth=0, zorder=1)
    axis.plot([], [], label="Dense", **look)


def error_against(
    groups: Mapping[str, Mapping[float, Sequence[Mapping[str, Any]]]],
    label: str,
    logarithmic: bool = False,
    axis: Axes | None = None,
) -> Axes:
    """Draw the test error of groups of runs against one setting.

    Points are means over seeds with their 95 % t-intervals, from three on.

    Args:
        groups: From a line's name to the setting's value, to runs with either
            `test_error` (a fraction, shown in %) or `test_mse`.
        label: What the setting is called.
        logarithmic: Whether values that double are equally far apart. Defaults to
            False.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If the runs have no common measure.

    Example:
        >>> run = {"test_error": 0.04}
        >>> axis = error_against({"recombine": {1: [run], 16: [run]}}, "k")
        >>> axis.get_xlabel(), axis.get_ylabel()
        ('k', 'Test error (%)')
    """
    every = [run for of in groups.values() for runs in of.values() for run in runs]
    measure = measure_of(every)
    key, factor = measure.key, measure.factor
    axis = new_axis(6.0, 4.0) if axis is None else axis
    styles = method_styles(list(groups))
    for group, values in groups.items():
        places = sorted(value for value in values if values[value])
        runs = [[factor * run[key] for run in values[place]] for place in places]
        draw_line(axis, places, runs, styles[group])
    if logarithmic:
        axis.set_xscale("log", base=2)
    ticks = sorted({value for values in groups.values() for value in values})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(label)
    axis.set_ylabel(measure.title)
    tidy(axis, grid=True)
    add_legend(axis)
    return axis


# More methods than this do not leave room for a legend within the axis.
_LEGEND_FITS = 6


def error_against_sparsity(
    records: Sequence[Mapping[str, Any]], axis: Axes | None = None
) -> Axes:
    """Draw the test error of every method against sparsity.

    Points are means over seeds with their 95 % t-intervals, from three on; the dense
    runs are a reference line with a band. Sparsities are spaced by the logarithm of
    what is left, so that 90, 95 and 98 % do not crowd together, and errors on a
    logarithmic scale where they lie far apart.

    Args:
        records: Runs with `method`, `sparsity`, `seed` and either `test_error` (a
            fraction, shown in %) or `test_mse`.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If the records have no common measure.

    Example:
        >>> run = {"method": "random", "sparsity": 0.9, "seed": 0, "test_error": 0.04}
        >>> error_against_sparsity([run]).get_ylabel()
        'Test error (%)'
    """
    measure = measure_of(records)
    values: dict[str, dict[float, list[float]]] = {}
    for record in records:
        of_method = values.setdefault(record["method"], {})
        of_method.setdefault(record["sparsity"], []).append(
            measure.factor * record[measure.key]
        )
    dense = values.pop("dense", {})
    methods = in_order(list(values))
    crowded = len(methods) > _LEGEND_FITS
    axis = new_axis(7.6 if crowded else 6.0, 4.0) if axis is None else axis
    space_by_density(
        axis, {sparsity for group in values.values() for sparsity in group}
    )
    styles = method_styles(methods)
    for index, method in enumerate(methods):
        # Side by side, or the intervals of good methods hide each other.
        step = min(0.035, 0.12 / len(methods))
        dodge = 1 + step * (index - (len(methods) - 1) / 2)
        sparsities = sorted(values[method])
        places = [(1 - sparsity) * dodge for sparsity in sparsities]
        groups = [values[method][sparsity] for sparsity in sparsities]
        draw_line(axis, places, groups, styles[method])
    if dense:
        draw_dense(axis, [value for group in dense.values() for value in group])
    every = [value for of in (*values.values(), dense) for value in of.values()]
    means = [float(np.mean(group)) for group in every]
    _spread_errors(axis, means)
    axis.set_ylabel(measure.title)
    tidy(axis, grid=True)
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if crowded else {}
    add_legend(axis, **beside)
    return axis


def _spread_errors(axis: Axes, means: Sequence[float]) -> None:
    """Make the scale of errors logarithmic where they lie far apart."""
    if needs_logarithm(means):
        axis.set_yscale("log", nonpositive="clip")
        low, high = min(means) / 1.6, max(max(means) * 1.3, axis.get_ylim()[1])
        axis.set_ylim(low, high)
        label_logarithms(axis.yaxis)


def error_against_density(
    records: Sequence[Mapping[str, Any]], axis: Axes | None = None
) -> Axes:
    """Draw the test error of every method against the mean density of its training.

    Points are means over seeds, with 95 % t-intervals of the error from three on; a
    line joins the sparsities of a method.

    Args:
        records: Runs with `method`, `sparsity`, `density` in % and either `test_error`
            (a fraction, shown in %) or `test_mse`.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If the records have no common measure.

    Example:
        >>> run = {"method": "set", "sparsity": 0.9, "density": 10.0, "test_mse": 0.01}
        >>> error_against_density([run]).get_xlabel()
        'Mean density of the training (%)'
    """
    measure = measure_of(records)
    groups: dict[str, dict[float, list[Mapping[str, Any]]]] = {}
    for record in records:
        of_method = groups.setdefault(record["method"], {})
        of_method.setdefault(record["sparsity"], []).append(record)
    axis = new_axis(6.0, 4.0) if axis is None else axis
    styles = method_styles(list(groups))
    means: list[float] = []
    for method in in_order(list(groups)):
        runs = [groups[method][sparsity] for sparsity in sorted(groups[method])]
        places = [float(np.mean([run["density"] for run in of])) for of in runs]
        values = [[measure.factor * run[measure.key] for run in of] for of in runs]
        draw_line(axis, places, values, styles[method])
        means += [float(np.mean(of)) for of in values]
    _spread_errors(axis, means)
    axis.set_xscale("log")
    label_logarithms(axis.xaxis)
    axis.set_xlabel("Mean density of the training (%)")
    axis.set_ylabel(measure.title)
    tidy(axis, grid=True)
    add_legend(axis)
    return axis
