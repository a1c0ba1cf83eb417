"""The share of weights that every layer keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.style import BLUE, SKY, SMALL, legend_above, tidy


def density_per_layer(rows: Any, axis: Axes | None = None) -> Axes:
    """Draw the share of weights that every tensor keeps.

    Args:
        rows: What `report(model)` returns, or one dictionary per tensor, with `path`,
            `parameters`, `kept` and, optionally, `effective`: how many of them are on a
            path from input to output.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: If there are no rows, or they are something else.

    Example:
        >>> row = {"path": "hidden/kernel", "parameters": 200, "kept": 10}
        >>> density_per_layer([row]).get_xlabel()
        'Weights kept (%)'
    """
    rows = rows.as_dict()["rows"] if hasattr(rows, "as_dict") else rows
    are_rows = isinstance(rows, Sequence) and all(map(_is_row, rows))
    if not are_rows or not rows:
        raise ValueError(
            "`rows` must be what `report(model)` returns, or at least one dictionary "
            f"with 'path', 'parameters' and 'kept'. Received: rows={rows!r}"
        )
    axis = new_axis(6.0, 0.9 + 0.42 * len(rows)) if axis is None else axis
    places = np.arange(len(rows))
    total = np.array([row["parameters"] for row in rows], float)
    kept = np.array([row["kept"] for row in rows], float)
    effective = np.array([row.get("effective", row["kept"]) for row in rows])
    axis.barh(places, 100 * kept / total, 0.62, color=SKY, label="Kept")
    if np.any(effective < kept):
        axis.barh(places, 100 * effective / total, 0.3, color=BLUE, label="In effect")
        legend_above(axis, columns=2)
    for place, row in zip(places, rows, strict=True):
        share = 100 * row["kept"] / row["parameters"]
        text = f"{share:.3g} %  ({row['kept']:,} of {row['parameters']:,})"
        axis.annotate(
            text, (share, place), (4, 0), textcoords="offset points", va="center",
            fontsize=SMALL,
        )  # fmt: skip
    axis.set_yticks(places, [row["path"] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("Weights kept (%)")
    axis.margins(x=0.6)  # Room for the numbers beside the longest bar.
    axis.set_xlim(left=0)
    axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= 100])
    tidy(axis)
    axis.tick_params(axis="y", length=0)
    return axis


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and {"path", "parameters", "kept"} <= row.keys()
