"""The test error against any setting of the runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from keras_initprune.plots.error_lines import draw_line, measure
from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.style import add_legend, method_styles, tidy


def error_against(
    groups: Mapping[str, Mapping[float, Sequence[Mapping[str, Any]]]],
    label: str,
    reference: Sequence[Mapping[str, Any]] = (),
    logarithmic: bool = False,
    axis: Axes | None = None,
) -> Axes:
    """Draw the test error of groups of runs against one setting.

    Points are means over seeds with their 95 % t-intervals, from three on.

    Args:
        groups: From a line's name to the setting's value, to runs with either
            `test_error` (a fraction, shown in %) or `test_mse`.
        label: What the setting is called.
        reference: Runs whose mean is drawn as a horizontal line, as dense ones.
        logarithmic: Whether values that double are equally far apart. Defaults to
            False.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: If the runs have no common measure.

    Example:
        >>> run = {"test_error": 0.04}
        >>> axis = error_against({"recombine": {1: [run], 16: [run]}}, "k")
        >>> axis.get_xlabel(), axis.get_ylabel()
        ('k', 'Test error (%)')
    """
    every = [run for of in groups.values() for runs in of.values() for run in runs]
    key, factor, name = measure([*every, *reference])
    axis = new_axis(6.0, 4.0) if axis is None else axis
    styles = method_styles(list(groups))
    for group, values in groups.items():
        places = sorted(value for value in values if values[value])
        runs = [[factor * run[key] for run in values[place]] for place in places]
        draw_line(axis, places, runs, styles[group])
    if reference:
        mean = float(np.mean([factor * run[key] for run in reference]))
        axis.axhline(mean, color="black", linewidth=1, linestyle=":", label="Dense")
    if logarithmic:
        axis.set_xscale("log", base=2)
    ticks = sorted({value for values in groups.values() for value in values})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(label)
    axis.set_ylabel(name)
    tidy(axis, grid=True)
    add_legend(axis)
    return axis
