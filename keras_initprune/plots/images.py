"""Masks and reconstructions as images."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import ArrayLike, NDArray

from keras_initprune.plots.style import BLUE, VERMILION, new_axis
from keras_initprune.validation import check_positive_integer, require


def mosaic(images: NDArray, columns: int, frame: float) -> NDArray:
    """Lay images out in rows, framed by lines of one pixel.

    Args:
        images: Shape `(n, height, width)` or `(n, height, width, channels)`.
        columns: Images side by side, where there are so many.
        frame: Value of the lines, and of the places that stay empty.

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
    are_units = bool(chosen) and all(0 <= unit < len(images) for unit in chosen)
    require(are_units, units, "units", f"indices below {len(images)}, at least one")
    picture = mosaic(images[chosen].astype(int), columns, _FRAME)
    height, width = picture.shape
    axis = new_axis(6.0, 6.0 * height / width, True) if axis is None else axis
    colours = ListedColormap(["#FFFFFF", BLUE, "#BFBFBF"])
    axis.imshow(
        picture, cmap=colours, vmin=_REMOVED, vmax=_FRAME, interpolation="nearest"
    )
    axis.set_axis_off()
    return axis


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


def reconstructions(images: Mapping[str, ArrayLike], axis: Axes | None = None) -> Axes:
    """Draw the same images in several versions, one labelled row each.

    Args:
        images: From a row's label, such as `"Original"` or `"95 % sparse"`, to images
            of shape `(n, height, width)`, with 1 or 3 channels or none, in [0, 1];
            values beyond are clipped. Without colours 1 is black, like ink.
        axis: Where to draw. Defaults to a new figure.

    Raises:
        ValueError: If there are no rows, or their shapes are not images or differ.

    Example:
        >>> image = np.zeros((1, 2, 2))
        >>> axis = reconstructions({"Original": image, "Dense": image})
        >>> [text.get_text() for text in axis.get_yticklabels()]
        ['Original', 'Dense']
    """
    rows = [np.asarray(row, float) for row in images.values()]
    shapes = {row.shape for row in rows}
    if len(shapes) != 1 or not _are_images(rows[0].shape):
        raise ValueError(
            "`images` must hold rows of one shape, `(n, height, width)` with 1 or 3 "
            f"channels or none. Received: shapes={sorted(shapes)}"
        )
    stack = np.clip(np.concatenate(rows), 0, 1)
    has_colours = stack.ndim == 4 and stack.shape[-1] == 3
    if not has_colours:
        stack = 1 - stack.reshape(stack.shape[:3])
    picture = mosaic(stack, columns=len(rows[0]), frame=0.75)
    height, width = picture.shape[:2]
    axis = new_axis(7.0, 0.2 + 5.8 * height / width, True) if axis is None else axis
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    line = rows[0].shape[1] + 1
    axis.set_yticks([line * (row + 0.5) for row in range(len(rows))], list(images))
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return axis


def _are_images(shape: tuple[int, ...]) -> bool:
    return 0 not in shape and (
        len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    )
