"""Criteria of dissipating gradients: how far weights moved since initialisation.

Every function takes dictionaries from tensor path to array (weights, initial weights,
accumulated gradients) and returns scores in the same form. All are ratios: 1 means that
a weight moved by as much as the initial value that the criterion measures against.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray]
Criterion = Callable[[Arrays, Arrays, Arrays], dict[str, NDArray]]
CriterionName = Literal["movement", "relative", "standardised", "gradient"]


def movement(weights: Arrays, initial: Arrays, gradients: Arrays) -> dict[str, NDArray]:
    """Return |w - w0| over the root mean square of all initial weights.

    The scale is one number for the whole network, so that weights rank by their
    distance alone.

    Example:
        >>> scores = movement({"a": np.array([3.0, 1.0])}, {"a": np.ones(2)}, {})
        >>> scores["a"].tolist()
        [2.0, 0.0]
    """
    scale = np.sqrt(_network_mean({p: np.square(w0) for p, w0 in initial.items()}))
    return {
        path: _ratio(np.abs(weight - initial[path]), scale)
        for path, weight in weights.items()
    }


def relative(weights: Arrays, initial: Arrays, gradients: Arrays) -> dict[str, NDArray]:
    """Return |w - w0| / |w0|, the literal reading of the paper.

    It protects weights that began near zero.

    Example:
        >>> initial = {"a": np.array([0.5, 1.0])}
        >>> relative({"a": np.array([1.0, 1.5])}, initial, {})["a"].tolist()
        [1.0, 0.5]
    """
    return {
        path: _ratio(np.abs(weight - initial[path]), np.abs(initial[path]))
        for path, weight in weights.items()
    }


def standardised(
    weights: Arrays, initial: Arrays, gradients: Arrays
) -> dict[str, NDArray]:
    """Return |w - w0| / std(w0), the deviation taken over the tensor.

    Example:
        >>> initial = {"a": np.array([-1.0, 1.0])}
        >>> standardised({"a": np.array([1.0, 1.5])}, initial, {})["a"].tolist()
        [2.0, 0.5]
    """
    return {
        path: _ratio(np.abs(weight - initial[path]), np.std(initial[path]))
        for path, weight in weights.items()
    }


def gradient(weights: Arrays, initial: Arrays, gradients: Arrays) -> dict[str, NDArray]:
    """Return the accumulated |dL/dw| over its mean in the network.

    Example:
        >>> gradient({}, {}, {"a": np.array([1.0, 3.0])})["a"].tolist()
        [0.5, 1.5]
    """
    scale = _network_mean(gradients)
    return {path: _ratio(total, scale) for path, total in gradients.items()}


DISSIPATION: dict[str, Criterion] = {
    "movement": movement,
    "relative": relative,
    "standardised": standardised,
    "gradient": gradient,
}

# They need no gradients, which then are not gathered.
WITHOUT_GRADIENTS: tuple[Criterion, ...] = (movement, relative, standardised)


def _network_mean(arrays: Arrays) -> float:
    size = sum(array.size for array in arrays.values())
    return sum(float(array.sum(dtype=np.float64)) for array in arrays.values()) / size


def _ratio(distance: NDArray, scale: NDArray | float) -> NDArray:
    """Divide; from a scale of zero any distance is as far as numbers go."""
    largest, ratio = np.finfo(distance.dtype).max, np.empty_like(distance)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Block by block in double precision, which makes no large array of doubles.
        np.divide(distance, scale, out=ratio, dtype=np.float64, casting="same_kind")
    if not np.all(scale > 0):
        far = np.where(distance > 0, largest, 0)
        ratio = np.where(np.asarray(scale) > 0, ratio, far).astype(distance.dtype)
    return np.minimum(ratio, largest, out=ratio)
