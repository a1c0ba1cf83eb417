"""How many units of a first layer still read each pixel."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.mosaic import mask_pixels
from keras_initprune.plots.style import VERMILION
from keras_initprune.validation import check_positive_integer


def pixel_use(
    mask: ArrayLike,
    image_shape: Sequence[int],
    most: int | None = None,
    axis: Axes | None = None,
) -> Axes:
    """Draw how many units of a first layer read each pixel, the darker the more.

    Pixels that no unit reads, to which the network is blind, are crossed out.

    Args:
        mask: Mask or weights of the shape `(pixels, units)`; what is not 0 is kept.
        image_shape: Height, width and, possibly, channels.
        most: The number of units that is drawn darkest; give the same one to figures
            that are compared. Defaults to the largest number in this one.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: If the mask's first axis is not the number of pixels, or `most` is
            not an integer of at least 1.

    Example:
        >>> axis = pixel_use([[1, 1], [0, 0], [1, 0], [0, 1]], (2, 2))
        >>> axis.images[0].get_array().tolist()
        [[2, 0], [1, 1]]
    """
    readers = mask_pixels(np.asarray(mask), tuple(image_shape)).sum(axis=0)
    if most is None:
        most = max(1, int(readers.max()))
    check_positive_integer(most, "most")
    axis = new_axis(4.2, 3.2, True) if axis is None else axis
    picture = axis.imshow(
        readers, cmap=mpl.colormaps["Blues"], vmin=0, vmax=most, interpolation="nearest"
    )
    rows, columns = np.nonzero(readers == 0)
    if len(rows):
        axis.scatter(columns, rows, 7, color=VERMILION, marker="x", linewidths=0.8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(True)
    axis.set_xlabel(f"{len(rows)} of {readers.size} pixels read by no unit")
    bar = axis.figure.colorbar(picture, ax=axis, shrink=0.9)
    bar.set_label("Units that read the pixel")
    return axis
