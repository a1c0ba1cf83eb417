"""What all figures share: a sharp figure, colours, the look of a method, tidy axes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.figure
from matplotlib.axes import Axes

# Okabe and Ito 2008, "Color universal design", plus a grey.
BLACK, GREY, PALE = "#000000", "#999999", "#D9D9D9"
BLUE, SKY, GREEN, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#CC79A7"
ORANGE, VERMILION = "#E69F00", "#D55E00"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
"""Colours of lines that stand for no method, in the order in which they are taken."""

DASHES = (0, (5, 2))
SMALL = 9
"""Size of legends and of notes within a figure, in points."""


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn.

    Attributes:
        label: Its name in legends.
        colour: Colour of its line and markers.
        marker: Its marker, as matplotlib calls it.
        line: Its line style, as matplotlib calls it.
    """

    label: str
    colour: str
    marker: str
    line: Any = "-"

    @property
    def is_stroke(self) -> bool:
        """Whether the marker is made of lines, without a face to set off."""
        return self.marker in "1234x+|_"


_DOTS, _DASH_DOTS, _LONG = (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5)), (0, (7, 2))

# Kin share a colour: blue ranks by magnitude, purple by gradients before training,
# grey moves its mask during training.
METHOD_STYLES = {
    "small_dense": MethodStyle("Small dense", BLACK, "|", _DASH_DOTS),
    "random": MethodStyle("Random", ORANGE, "s"),
    "random_after_epochs": MethodStyle("Random after epochs", ORANGE, "8", _DOTS),
    "k_starts": MethodStyle("K-starts", SKY, "^"),
    "dissipating_gradients": MethodStyle("Dissipating gradients", GREEN, "o"),
    "combination": MethodStyle("Combination", VERMILION, "D"),
    "combination_from_75": MethodStyle(
        "Combination, from 75 %", VERMILION, "H", DASHES
    ),
    "combination_from_90": MethodStyle("Combination, from 90 %", VERMILION, "_", _DOTS),
    "hand_over": MethodStyle("K-starts, then dissipating", GREEN, ".", _DOTS),
    "magnitude_at_init": MethodStyle("Magnitude at initialisation", BLUE, "v", _DOTS),
    "magnitude_after_epochs": MethodStyle(
        "Magnitude after epochs", BLUE, "<", _DASH_DOTS
    ),
    "gradual_magnitude": MethodStyle("Gradual magnitude", BLUE, ">", _LONG),
    "granet": MethodStyle("GraNet", BLUE, "$G$", DASHES),
    "snip": MethodStyle("SNIP", PURPLE, "P", _DASH_DOTS),
    "iterative_snip": MethodStyle("Iterative SNIP", PURPLE, "X", _DASH_DOTS),
    "force": MethodStyle("FORCE", PURPLE, "*", DASHES),
    "grasp": MethodStyle("GraSP", PURPLE, "p", _DOTS),
    "synflow": MethodStyle("SynFlow", PURPLE, "d", _LONG),
    "rigl": MethodStyle("RigL", GREY, "x", _LONG),
    "set": MethodStyle("SET", GREY, "+", _DOTS),
    "lottery_ticket": MethodStyle("Lottery ticket", BLACK, "h", _DOTS),
}
_UNKNOWN = (
    (BLACK, "1", "-"),
    (BLACK, "2", DASHES),
    (BLACK, "3", _DOTS),
    (BLACK, "4", _DASH_DOTS),
)
# With no known method in the figure, all colours are free.
_FREE = tuple(
    (colour, marker, "-") for colour, marker in zip(PALETTE, "osD^v><", strict=True)
)


def in_order(methods: Sequence[str]) -> list[str]:
    """Return methods in the order of `METHOD_STYLES`, others after them.

    Example:
        >>> in_order(["mine", "k_starts", "random"])
        ['random', 'k_starts', 'mine']
    """
    known = list(METHOD_STYLES)
    return sorted(methods, key=lambda m: (known.index(m) if m in known else 99, m))


def method_styles(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """Return how to draw methods that share a figure.

    Known methods look the same in every figure. Others take styles of their own in
    alphabetical order: black ones beside known methods, coloured ones among themselves.

    Example:
        >>> method_styles(["mine"])["mine"].label
        'Mine'
    """
    styles = {}
    others = 0
    left = _FREE if METHOD_STYLES.keys().isdisjoint(methods) else _UNKNOWN
    for method in in_order(methods):
        if method in METHOD_STYLES:
            styles[method] = METHOD_STYLES[method]
            continue
        colour, marker, line = left[others % len(left)]
        words = method.replace("_", " ")
        label = words.upper() if words == "erk" else words.capitalize()
        styles[method] = MethodStyle(label, colour, marker, line)
        others += 1
    return styles


def tidy(axis: Axes, grid: bool = False) -> None:
    """Take off what frames an axis, and put a faint grid behind the values."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_axisbelow(True)
    if grid:
        axis.grid(axis="y", color=PALE, linewidth=0.6)


def add_legend(axis: Axes, **options: Any) -> None:
    """Add a legend without a frame, in front of lines that cross it."""
    options |= {"facecolor": "inherit", "edgecolor": "none", "framealpha": 0.9}
    axis.legend(fontsize=SMALL, **options)


def legend_above(axis: Axes, columns: int) -> None:
    """Add a legend in one or more rows above the axis."""
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0)}
    add_legend(axis, ncols=columns, borderaxespad=0.2, **place)


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

    Pyplot does not know it: nothing has to be closed, and notebooks show it where it is
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
