"""Means of a few repeated measurements, with their confidence intervals."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from scipy import stats

from keras_initprune.plots import style

# Of two values the interval is more than six times as wide as they are apart to either
# side: it would press all else on the axis flat.
_FEWEST_WITH_INTERVAL = 3


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half-width of its Student t-interval of 95 %.

    The half-width is `t * s / sqrt(n)` with the sample's standard deviation `s`
    (n - 1 in the denominator) and the two-sided quantile `t` of n - 1 degrees of
    freedom. For paired runs, give the differences of the pairs.

    Args:
        values: The measurements, one per seed.

    Returns:
        Mean and half-width. The half-width of a single value is NaN: one
        measurement says nothing about its spread.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> mean, half_width = mean_and_half_width([1.0, 2.0, 3.0])
        >>> round(mean, 3), round(half_width, 3)
        (2.0, 2.484)
    """
    if len(values) == 0:
        raise ValueError("`values` must not be empty. Received: values=[]")
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, math.nan
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return mean, float(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))


def drawn_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half-width to draw: 0 where there are too few values.

    Example:
        >>> drawn_interval([1.0, 2.0])
        (1.5, 0.0)
    """
    mean, half_width = mean_and_half_width(values)
    return mean, half_width if len(values) >= _FEWEST_WITH_INTERVAL else 0.0


def needs_logarithm(means: Sequence[float]) -> bool:
    """Return whether one value would press all others flat on a linear scale.

    Example:
        >>> needs_logarithm([2.0, 3.0]), needs_logarithm([2.0, 90.0])
        (False, True)
    """
    return min(means) > 0 and max(means) > 4 * min(means)


def label_logarithms(axis: Axis) -> None:
    """Label an axis that is logarithmic with plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


_MARKERS = "oDs^vPX"
_FAR = 10.0  # Differences beyond it would press all others flat.


def interval_dots(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
    reference: float | None = None,
    axis: Axes | None = None,
) -> Axes:
    """Draw means with their 95 % t-intervals, from three values on, one row per name.

    Where values lie far apart their scale is logarithmic; with a reference of 0, beyond
    1 to both sides.

    Args:
        rows: From a row's name, first to last from above, to a series' name, to its
            values, one per seed.
        label: What the values are.
        reference: Where to draw a vertical line, as at a difference of 0.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If there is nothing to draw.

    Example:
        >>> axis = interval_dots({"shuffled": {"95 %": [2.1, 2.3]}}, "Test error (%)")
        >>> [text.get_text() for text in axis.get_yticklabels()]
        ['shuffled']
    """
    every = [values for of in rows.values() for values in of.values()]
    if not every or not all(every):
        raise ValueError(
            "`rows` must hold one value or more for each series of each row. "
            f"Received: rows={rows!r}"
        )
    series = list(dict.fromkeys(name for of in rows.values() for name in of))
    if axis is None:
        axis = style.new_axis(6.0, 0.9 + len(rows) * (0.24 + 0.08 * len(series)))
    for index, name in enumerate(series):
        dodge = (index - (len(series) - 1) / 2) * 0.6 / len(series)
        drawn = [(row, of[name]) for row, of in enumerate(rows.values()) if name in of]
        intervals = [drawn_interval(values) for _, values in drawn]
        means, half_widths = zip(*intervals, strict=True)
        axis.errorbar(
            means,
            [row + dodge for row, _ in drawn],
            xerr=half_widths,
            label=name,
            color=style.PALETTE[index % len(style.PALETTE)],
            marker=_MARKERS[index % len(_MARKERS)],
            linestyle="none",
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.7,
            elinewidth=1.2,
            capsize=2.5,
        )
    centres = [float(np.mean(values)) for values in every]
    if reference is not None:
        axis.axvline(
            reference, color=style.BLACK, linewidth=1, linestyle=style.DASHES, zorder=1
        )
    if reference == 0 and max(map(abs, centres)) > _FAR:
        axis.set_xscale("symlog", linthresh=1.0)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif reference is None and needs_logarithm(centres):
        axis.set_xscale("log", nonpositive="clip")
        axis.set_xlim(min(centres) / 1.3, max(centres) * 1.3)
        label_logarithms(axis.xaxis)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel(label)
    style.tidy(axis)
    axis.grid(axis="x", color=style.PALE, linewidth=0.6)
    if len(series) > 1:
        style.legend_above(axis, columns=min(len(series), 4))
    return axis
