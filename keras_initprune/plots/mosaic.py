"""Many small images in one."""

import math

import numpy as np
from numpy.typing import NDArray

from keras_initprune.validation import check_positive_integer


def mosaic(images: NDArray, columns: int, frame: float) -> NDArray:
    """Lay images out in rows, framed by lines of one pixel.

    Args:
        images: Shape `(n, height, width)` or `(n, height, width, channels)`.
        columns: Images side by side, where there are so many.
        frame: Value of the lines, and of the places that stay empty.

    Returns:
        One image.

    Raises:
        ValueError: If `columns` is not an integer of at least 1.

    Example:
        >>> mosaic(np.zeros((2, 1, 1)), columns=2, frame=9.0)
        array([[9., 9., 9., 9., 9.],
               [9., 0., 9., 0., 9.],
               [9., 9., 9., 9., 9.]])
    """
    columns = min(check_positive_integer(columns, "columns"), len(images))
    count, height, width, *channels = images.shape
    lines = math.ceil(count / columns)
    shape = (lines * (height + 1) + 1, columns * (width + 1) + 1, *channels)
    whole = np.full(shape, frame, images.dtype)
    for index, image in enumerate(images):
        top = index // columns * (height + 1) + 1
        left = index % columns * (width + 1) + 1
        whole[top : top + height, left : left + width] = image
    return whole


def mask_pixels(mask: NDArray, image_shape: tuple[int, ...]) -> NDArray:
    """Return what each unit of a first layer keeps, as one image per unit.

    Args:
        mask: Mask or weights of the shape `(pixels, units)`; what is not 0 is kept.
        image_shape: Height, width and, possibly, channels.

    Returns:
        Booleans of shape `(units, height, width)`: whether the unit reads the pixel,
        in any of its channels.

    Raises:
        ValueError: If the mask's first axis is not the number of pixels.

    Example:
        >>> mask_pixels(np.eye(4), (2, 2))[3].astype(int).tolist()
        [[0, 0], [0, 1]]
    """
    kept = np.asarray(mask) != 0
    height, width, channels = (*image_shape, 1)[:3]
    pixels = height * width * channels
    if kept.ndim != 2 or kept.shape[0] != pixels:
        raise ValueError(
            f"`mask` must have the shape ({pixels}, units) for images of the shape "
            f"{tuple(image_shape)}. Received: shape={kept.shape}"
        )
    return kept.T.reshape(-1, height, width, channels).any(axis=-1)
