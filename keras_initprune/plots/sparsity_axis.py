"""A horizontal axis of sparsity, and a dense network as a reference on it."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from keras_initprune.plots.error_lines import drawn_interval
from keras_initprune.plots.style import BLACK, DASHES


def space_by_density(axis: Axes, sparsities: Collection[float]) -> None:
    """Space sparsities by the logarithm of what is left, from dense to sparse.

    The axis is one of densities: draw a sparsity at `1 - sparsity`.

    Args:
        axis: The axis.
        sparsities: Which to label.
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
    """Draw dense networks as a dashed line at their mean, with a 95 % band.

    Args:
        axis: The axis.
        values: One value per seed; fewer than three have no band.
    """
    mean, half_width = drawn_interval(values)
    look: dict[str, Any] = {"color": BLACK, "linewidth": 1.2, "linestyle": DASHES}
    axis.axhline(mean, zorder=2, **look)
    if half_width:
        low, high = mean - half_width, mean + half_width
        axis.axhspan(low, high, color=BLACK, alpha=0.1, linewidth=0, zorder=1)
    axis.plot([], [], label="Dense", **look)
