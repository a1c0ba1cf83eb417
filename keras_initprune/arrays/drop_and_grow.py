"""Drop and grow: the step of dynamic sparse training, as a pure function."""

import numpy as np
from numpy.typing import NDArray

from keras_initprune.arrays.masks import Mask, top_k_mask


def drop_and_grow(weights: NDArray, growth: NDArray, mask: Mask, count: int) -> Mask:
    """Drop the `count` smallest kept weights and grow as many where growth is highest.

    `kept = TopK(|w|, n - count)` among the n weights of the mask, then `grown =
    TopK(growth, count)` among all others. A weight that has just been dropped may win
    its place back; it then never left, and keeps its value.

    Args:
        weights: Values of the tensor.
        growth: Scores of the same shape, higher = grow: |dL/dw| in RigL, random numbers
            in SET. Those of kept weights do not matter.
        mask: Boolean array of the same shape, True where a weight is kept.
        count: How many weights to drop.

    Returns:
        A boolean array that keeps exactly as many weights as `mask`.

    Raises:
        ValueError: If `count` exceeds the kept weights, or a score is not finite.

    References:
        - Mocanu et al. 2018, "Scalable training of artificial neural networks with
          adaptive sparse connectivity" (arXiv 1707.04780)
        - Evci et al. 2020, "Rigging the lottery" (arXiv 1911.11134), algorithm 1

    Example:
        >>> weights = np.array([3.0, 1.0, 0.0, 0.0])
        >>> growth = np.array([9.0, 0.0, 0.5, 2.0])
        >>> drop_and_grow(weights, growth, weights != 0, 1).tolist()
        [True, False, False, True]
    """
    kept = top_k_mask(np.abs(weights), int(np.count_nonzero(mask)) - count, mask)
    return kept | top_k_mask(growth, count, ~kept)
