"""What of every layer is kept, and how far weights have moved, by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from keras_initprune.plots import style
from keras_initprune.validation import check_positive_integer


def density_per_layer(rows: Any, axis: Axes | None = None) -> Axes:
    """Draw the share of weights that every tensor keeps.

    Args:
        rows: What `report(model)` returns, or one dictionary per tensor, with `path`,
            `parameters`, `kept` and, optionally, `effective`: how many of them are on a
            path from input to output.
        axis: Where to draw. Defaults to a new figure.

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
    axis = style.new_axis(6.0, 0.9 + 0.42 * len(rows)) if axis is None else axis
    places = np.arange(len(rows))
    total = np.array([row["parameters"] for row in rows], float)
    kept = np.array([row["kept"] for row in rows], float)
    effective = np.array([row.get("effective", row["kept"]) for row in rows])
    axis.barh(places, 100 * kept / total, 0.62, color=style.SKY, label="Kept")
    if np.any(effective < kept):
        axis.barh(
            places, 100 * effective / total, 0.3, color=style.BLUE, label="In effect"
        )
        style.legend_above(axis, columns=2)
    for place, row in zip(places, rows, strict=True):
        share = 100 * row["kept"] / row["parameters"]
        text = f"{share:.3g} %  ({row['kept']:,} of {row['parameters']:,})"
        axis.annotate(
            text, (share, place), (4, 0), textcoords="offset points", va="center",
            fontsize=style.SMALL,
        )  # fmt: skip
    axis.set_yticks(places, [row["path"] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("Weights kept (%)")
    axis.margins(x=0.6)  # Room for the numbers beside the longest bar.
    axis.set_xlim(left=0)
    axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= 100])
    style.tidy(axis)
    axis.tick_params(axis="y", length=0)
    return axis


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and {"path", "parameters", "kept"} <= row.keys()


_HEIGHT = 0.8
"""Height of an epoch's highest bar; epochs lie 1 apart."""

# What moved least would stretch a logarithmic axis; it is counted in the first bar.
_LEAST_SHOWN = 0.002


def weight_movement(
    records: Sequence[Mapping[str, Any]],
    label: str = r"Distance from initialisation, $|w - w_0|$",
    bins: int = 60,
    axis: Axes | None = None,
) -> Axes:
    """Draw the distribution of movement at the end of every epoch, and what is removed.

    One row per epoch, from top to bottom: a histogram of the weights that were alive,
    hatched where they are removed at its end. Distances are on a logarithmic scale,
    those of exactly 0 in a bar of their own. Every row has its own scale upwards.

    Args:
        records: One per epoch, with `epoch`, and in `kept` and `removed` how far the
            weights moved that are kept and removed at its end, arrays of any shape.
        label: What is measured. Defaults to |w - w0|.
        bins: Number of bars per epoch. Defaults to 60.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If no weight in `records` moved, or `bins` is not an integer of at
            least 1.

    Example:
        >>> record = {"epoch": 1, "kept": [0.2, 0.3], "removed": [0.0, 0.1]}
        >>> axis = weight_movement([record])
        >>> [text.get_text() for text in axis.get_yticklabels()]
        ['Epoch 1']
    """
    check_positive_integer(bins, "bins")
    kept = [np.ravel(np.asarray(record["kept"], float)) for record in records]
    removed = [np.ravel(np.asarray(record["removed"], float)) for record in records]
    every = np.concatenate([np.empty(0), *kept, *removed])
    if not (every > 0).any():
        raise ValueError(
            "`records` must hold at least one weight that moved. "
            f"Received: {len(records)} records of {every.size} weights"
        )
    bars = _Bars(every, bins)
    axis = style.new_axis(6.4, 0.9 + 0.75 * len(records)) if axis is None else axis
    axis.set_xscale("log")
    for place, (stays, goes) in enumerate(zip(kept, removed, strict=True)):
        _draw_row(axis, place, stays, goes, bars)
    axis.set_ylim(len(records) - 0.9, -1)
    axis.set_yticks(range(len(records)), [f"Epoch {r['epoch']}" for r in records])
    bars.label(axis)
    axis.set_xlabel(label)
    style.tidy(axis)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    style.legend_above(axis, columns=2)
    return axis


class _Bars:
    """Where the bars are: one per range of distances, and one for exactly 0."""

    def __init__(self, distances: NDArray, bins: int) -> None:
        moved = distances[distances > 0]
        low, high = float(np.quantile(moved, _LEAST_SHOWN)), float(moved.max())
        self.edges = np.geomspace(low, max(high, 1.01 * low), bins + 1)
        self.has_zero = bool((distances == 0).any())
        step = (self.edges[-1] / low) ** (1 / 60)
        self.zero = np.array([low / step**5, low / step**3])
        self.left, self.width = self.edges[:-1], np.diff(self.edges)
        if self.has_zero:
            self.left = np.append(self.zero[0], self.left)
            self.width = np.append(self.zero[1] - self.zero[0], self.width)

    def count(self, distances: NDArray) -> NDArray:
        """Return the heights of the bars."""
        moved = np.clip(distances[distances > 0], self.edges[0], self.edges[-1])
        counts = np.histogram(moved, self.edges)[0]
        zeros = np.count_nonzero(distances == 0)
        return np.append(zeros, counts) if self.has_zero else counts

    def label(self, axis: Axes) -> None:
        """Label the axis with round numbers, and the bar of zeros."""
        low, high = self.edges[0], self.edges[-1]
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        # A narrow range may hold no two powers of ten.
        factors = (1,) if high > 100 * low else (1, 2, 5)
        round_numbers = [f * 10.0**e for e in range(first, last) for f in factors]
        ticks = [number for number in round_numbers if low <= number <= high]
        labels = [f"{tick:g}" for tick in ticks]
        if self.has_zero:
            ticks.insert(0, float(self.zero.mean()))
            labels.insert(0, "0")
        axis.set_xlim(self.zero[0] * 0.9 if self.has_zero else low, high)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticks(ticks, labels)


def _draw_row(
    axis: Axes, place: int, kept: NDArray, removed: NDArray, bars: _Bars
) -> None:
    stays, goes = bars.count(kept), bars.count(removed)
    # Downwards, as the axis is inverted.
    scale = -_HEIGHT / max((stays + goes).max(), 1)
    look: dict[str, Any] = {"align": "edge", "linewidth": 0}
    axis.bar(
        bars.left, scale * stays, bars.width, place, color=style.BLUE,
        label="Kept" if place == 0 else None, **look,
    )  # fmt: skip
    axis.bar(
        bars.left, scale * goes, bars.width, place + scale * stays, color=style.ORANGE,
        edgecolor="white",
        hatch="//////", label="Removed when the epoch ends" if place == 0 else None,
        **look,
    )  # fmt: skip
    axis.axhline(place, color=style.BLACK, linewidth=0.6)
    axis.annotate(
        f"keeps {len(kept):,}\nof {len(kept) + len(removed):,}", (1, place), (6, 6),
        xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="left", va="bottom", fontsize=style.SMALL,
    )  # fmt: skip
