"""Fitness of weights after the first epochs, by which K-starts compares its masks.

Every function takes what the selection epochs gathered about one tensor and returns the
fitness of each of its weights. The fitness of a mask is the sum over what it keeps.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Fitness = Callable[[NDArray, NDArray], NDArray]
FitnessName = Literal["magnitude", "gradient", "combined"]


def magnitude(weight: NDArray, gradient: NDArray) -> NDArray:
    """Return |w| as it is when the last selection epoch ends.

    Example:
        >>> magnitude(np.array([-2.0, 1.0]), np.array([0.0, 0.0])).tolist()
        [2.0, 1.0]
    """
    return np.abs(weight)


def gradient(weight: NDArray, gradient: NDArray) -> NDArray:
    """Return the sum of |dL/dw| over the steps of the selection epochs.

    Example:
        >>> gradient(np.array([-2.0, 1.0]), np.array([0.5, 3.0])).tolist()
        [0.5, 3.0]
    """
    return gradient


def combined(weight: NDArray, gradient: NDArray) -> NDArray:
    """Return the sum of magnitude and gradient, each over its mean in the tensor.

    Example:
        >>> combined(np.array([-3.0, 1.0]), np.array([1.0, 3.0])).tolist()
        [2.0, 2.0]
    """
    return _over_mean(np.abs(weight)) + _over_mean(gradient)


FITNESS: dict[str, Fitness] = {
    "magnitude": magnitude,
    "gradient": gradient,
    "combined": combined,
}


def _over_mean(values: NDArray) -> NDArray:
    mean = values.mean()
    return values / mean if mean > 0 else values
