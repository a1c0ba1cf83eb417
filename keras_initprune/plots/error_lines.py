"""What figures of test errors share: the measure, lines with intervals, the scale."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from keras_initprune.plots.intervals import mean_and_half_width
from keras_initprune.plots.style import MethodStyle

# Of two values the interval is more than six times as wide as they are apart to either
# side: it would press all else on the axis flat.
_FEWEST_WITH_INTERVAL = 3


def measure(records: Sequence[Mapping[str, Any]]) -> tuple[str, float, str]:
    """Return a measure that all runs have: its key, what to multiply with, its name.

    Args:
        records: Runs.

    Raises:
        ValueError: If there is none.
    """
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


def drawn_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half-width to draw: 0 where there are too few values.

    Args:
        values: The measurements, one per seed.

    Example:
        >>> drawn_interval([1.0, 2.0])
        (1.5, 0.0)
    """
    mean, half_width = mean_and_half_width(values)
    return mean, half_width if len(values) >= _FEWEST_WITH_INTERVAL else 0.0


def draw_line(
    axis: Axes,
    places: Sequence[float],
    values: Sequence[Sequence[float]],
    style: MethodStyle,
) -> None:
    """Draw means with their 95 % t-intervals, from three values on.

    Args:
        axis: The axis.
        places: Where the points are, along the axis.
        values: The values of each point, one per seed.
        style: How to draw them.
    """
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


def needs_logarithm(means: Sequence[float]) -> bool:
    """Return whether one value would press all others flat on a linear scale.

    Example:
        >>> needs_logarithm([2.0, 3.0]), needs_logarithm([2.0, 90.0])
        (False, True)
    """
    return min(means) > 0 and max(means) > 4 * min(means)


def label_logarithms(axis: Axis) -> None:
    """Label an axis that is logarithmic with plain numbers.

    Args:
        axis: The horizontal or vertical axis of a figure.
    """
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
