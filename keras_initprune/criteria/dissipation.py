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
    size = sum(w0.size for w0 in initial.values())
    scale = np.sqrt(sum(_sum_of_squares(w0) for w0 in initial.values()) / size)
    return {
        path: _ratio(_distance(weight, initial[path]), scale)
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
        path: _ratio(_distance(weight, initial[path]), np.abs(initial[path]))
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
        path: _ratio(_distance(weight, initial[path]), np.std(initial[path]))
        for path, weight in weights.items()
    }


def gradient(weights: Arrays, initial: Arrays, gradients: Arrays) -> dict[str, NDArray]:
    """Return the accumulated |dL/dw| over its mean in the network.

    Example:
        >>> gradient({}, {}, {"a": np.array([1.0, 3.0])})["a"].tolist()
        [0.5, 1.5]
    """
    size = sum(total.size for total in gradients.values())
    scale = sum(float(g.sum(dtype=np.float64)) for g in gradients.values()) / size
    return {path: _ratio(total.copy(), scale) for path, total in gradients.items()}


DISSIPATION: dict[str, Criterion] = {
    "movement": movement,
    "relative": relative,
    "standardised": standardised,
    "gradient": gradient,
}

# They need no gradients, which then are not gathered.
WITHOUT_GRADIENTS: tuple[Criterion, ...] = (movement, relative, standardised)


def _distance(weight: NDArray, initial: NDArray) -> NDArray:
    distance = weight - initial
    return np.abs(distance, out=distance)


def _sum_of_squares(array: NDArray) -> float:
    # In double precision, but without an array of doubles.
    flat = array.ravel()
    return float(np.einsum("i,i->", flat, flat, dtype=np.float64))


def _ratio(distance: NDArray, scale: NDArray | float) -> NDArray:
    """Divide in place; from a scale of zero any distance is as far as numbers go."""
    largest, moved = np.finfo(distance.dtype).max, None
    if not np.all(scale > 0):
        moved = distance > 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Block by block in double precision, which makes no large array of doubles.
        np.divide(distance, scale, out=distance, dtype=np.float64, casting="same_kind")
    if moved is not None:
        np.copyto(distance, np.where(moved, largest, 0), where=np.asarray(scale) <= 0)
    return np.minimum(distance, largest, out=distance)
