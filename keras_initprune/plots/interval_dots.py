"""Means with their intervals, one row per name."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from keras_initprune.plots.errors import (
    drawn_interval,
    label_logarithms,
    needs_logarithm,
)
from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.style import BLACK, DASHES, PALE, PALETTE, legend_above, tidy

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

    Returns:
        The axis.

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
        axis = new_axis(6.0, 0.9 + len(rows) * (0.24 + 0.08 * len(series)))
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
            color=PALETTE[index % len(PALETTE)],
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
        axis.axvline(reference, color=BLACK, linewidth=1, linestyle=DASHES, zorder=1)
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
    tidy(axis)
    axis.grid(axis="x", color=PALE, linewidth=0.6)
    if len(series) > 1:
        legend_above(axis, columns=min(len(series), 4))
    return axis
