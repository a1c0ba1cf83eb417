"""The test error of several methods against sparsity."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_initprune.plots.error_lines import (
    draw_line,
    label_logarithms,
    measure,
    needs_logarithm,
)
from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.sparsity_axis import draw_dense, space_by_density
from keras_initprune.plots.style import add_legend, in_order, method_styles, tidy

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

    Returns:
        The axis.

    Raises:
        ValueError: If the records have no common measure.

    Example:
        >>> run = {"method": "random", "sparsity": 0.9, "seed": 0, "test_error": 0.04}
        >>> error_against_sparsity([run]).get_ylabel()
        'Test error (%)'
    """
    key, factor, label = measure(records)
    values: dict[str, dict[float, list[float]]] = {}
    for record in records:
        of_method = values.setdefault(record["method"], {})
        of_method.setdefault(record["sparsity"], []).append(factor * record[key])
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
    _scale_errors(axis, [float(np.mean(group)) for group in every])
    axis.set_ylabel(label)
    tidy(axis, grid=True)
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if crowded else {}
    add_legend(axis, **beside)
    return axis


def _scale_errors(axis: Axes, means: Sequence[float]) -> None:
    if needs_logarithm(means):
        axis.set_yscale("log", nonpositive="clip")
        low, high = min(means) / 1.6, max(max(means) * 1.3, axis.get_ylim()[1])
        axis.set_ylim(low, high)
        label_logarithms(axis.yaxis)
