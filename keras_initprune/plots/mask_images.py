"""What the units of a first layer see, one small image per unit."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import ArrayLike

from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.mosaic import mask_pixels, mosaic
from keras_initprune.plots.style import BLUE
from keras_initprune.validation import check_positive_integer

_REMOVED, _KEPT, _FRAME = 0, 1, 2


def mask_images(
    mask: ArrayLike,
    image_shape: Sequence[int],
    units: Sequence[int] | None = None,
    columns: int = 8,
    axis: Axes | None = None,
) -> Axes:
    """Draw which pixels the units of a first layer read, one small image per unit.

    Args:
        mask: Mask or weights of the shape `(pixels, units)`; what is not 0 is kept.
        image_shape: Height, width and, possibly, channels.
        units: Which units to draw. Defaults to the first four rows' worth.
        columns: Images side by side. Defaults to 8.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: If the mask's first axis is not the number of pixels, or a unit
            does not exist.

    Example:
        >>> axis = mask_images(np.eye(4), (2, 2), columns=2)
        >>> axis.images[0].get_array().shape
        (7, 7)
    """
    images = mask_pixels(np.asarray(mask), tuple(image_shape))
    check_positive_integer(columns, "columns")
    chosen = list(range(len(images)))[: 4 * columns] if units is None else list(units)
    if not chosen or not all(0 <= unit < len(images) for unit in chosen):
        raise ValueError(
            f"`units` must be indices below {len(images)}, at least one. "
            f"Received: units={units!r}"
        )
    picture = mosaic(images[chosen].astype(int), columns, _FRAME)
    height, width = picture.shape
    axis = new_axis(6.0, 6.0 * height / width, True) if axis is None else axis
    colours = ListedColormap(["#FFFFFF", BLUE, "#BFBFBF"])
    axis.imshow(
        picture, cmap=colours, vmin=_REMOVED, vmax=_FRAME, interpolation="nearest"
    )
    axis.set_axis_off()
    return axis
