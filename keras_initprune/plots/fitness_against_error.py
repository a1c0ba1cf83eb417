"""What the fitness of masks says about the networks that they become."""

from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.style import BLUE, SMALL, tidy


def fitness_against_error(
    fitness: ArrayLike,
    error: ArrayLike,
    label: str = "Fitness of the mask",
    note: str = "",
    axis: Axes | None = None,
) -> Axes:
    """Draw the error of networks against the fitness of their masks, a point each.

    Args:
        fitness: One number per mask.
        error: The test error of each in %, in the same order.
        label: What the fitness is called.
        note: A line within the figure, such as a rank correlation.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Example:
        >>> fitness_against_error([1.0, 2.0], [4.0, 3.0]).get_ylabel()
        'Test error (%)'
    """
    axis = new_axis(5.0, 4.0) if axis is None else axis
    axis.scatter(fitness, error, s=26, color=BLUE, alpha=0.75, linewidths=0)
    axis.set_xlabel(label)
    axis.set_ylabel("Test error (%)")
    if note:
        axis.annotate(
            note, (0.98, 0.97), xycoords="axes fraction", ha="right", va="top",
            fontsize=SMALL,
        )  # fmt: skip
    tidy(axis, grid=True)
    return axis
