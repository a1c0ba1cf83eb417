"""New figures, which notebooks show sharply and at their natural size."""

import io
from typing import Any, Literal

import matplotlib.figure
from matplotlib.axes import Axes

from keras_initprune.plots.style import PALETTE, tidy

_CSS_PIXELS_PER_INCH = 96


class Figure(matplotlib.figure.Figure):
    """A figure that shows itself in a notebook, whatever matplotlib's backend is."""

    def _ipython_display_(self) -> None:
        from IPython.display import Image, display

        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        width = round(self.get_figwidth() * _CSS_PIXELS_PER_INCH)
        display(Image(buffer.getvalue(), width=width))


def subplots(
    rows: int = 1,
    columns: int = 1,
    width: float = 6.0,
    height: float = 4.0,
    for_images: bool = False,
) -> tuple[Figure, Any]:
    """Make a figure with one or more axes to draw into.

    It is none of pyplot's: nothing has to be closed, and notebooks show it where it is
    the last expression of a cell. Lines take colours that colour-blind readers can tell
    apart; give them markers or styles, too, for print without colours.

    Args:
        rows: Axes one above another. Defaults to 1.
        columns: Axes side by side. Defaults to 1.
        width: Width of the figure in inches. Defaults to 6.
        height: Height of the figure in inches. Defaults to 4.
        for_images: Whether the axes hold images, whose sides keep their ratio. Defaults
            to False.

    Returns:
        The figure, and its axis or, if there are several, an array of them.

    Example:
        >>> figure, (left, right) = subplots(columns=2, width=9.0)
        >>> left.figure is figure
        True
    """
    layout: Literal["compressed", "constrained"]
    # The usual layout would cut labels beside an image.
    layout = "compressed" if for_images else "constrained"
    figure = Figure(figsize=(width, height), dpi=200, layout=layout)
    axes = figure.subplots(rows, columns)
    for axis in figure.axes:
        axis.set_prop_cycle(color=PALETTE)
        tidy(axis)
    return figure, axes


def new_axis(width: float, height: float, for_image: bool = False) -> Axes:
    """Return the axis of a new figure; arguments as in `subplots`."""
    return subplots(1, 1, width, height, for_image)[1]
