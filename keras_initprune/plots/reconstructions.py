"""Images and what autoencoders make of them, side by side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_initprune.plots.figure import new_axis
from keras_initprune.plots.mosaic import mosaic


def reconstructions(images: Mapping[str, ArrayLike], axis: Axes | None = None) -> Axes:
    """Draw the same images in several versions, one labelled row each.

    Args:
        images: From a row's label, such as `"Original"` or `"95 % sparse"`, to images
            of shape `(n, height, width)`, with 1 or 3 channels or none, in [0, 1];
            values beyond are clipped. Without colours 1 is black, like ink.
        axis: Where to draw. Defaults to a new figure.

    Returns:
        The axis.

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
