"""Argument checks, worded once: name, rule, and what was received."""

import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

# What counts, as batches, steps and epochs, goes through 32 bits on the way.
_TOO_LARGE = 2**31


def check_sparsity(sparsity: Any, name: str = "sparsity") -> float:
    """Return `sparsity` as a float, or raise unless it lies in [0, 1).

    Example:
        >>> check_sparsity(0.95)
        0.95
    """
    if not _is_real(sparsity) or not 0 <= sparsity < 1:
        raise ValueError(
            f"`{name}` is the fraction of weights that is removed and must be a "
            f"number in [0, 1). Received: {name}={sparsity!r}"
        )
    return float(sparsity)


def check_fraction(fraction: Any, name: str = "fraction") -> float:
    """Return `fraction` as a float, or raise unless it lies in (0, 1].

    Example:
        >>> check_fraction(0.2)
        0.2
    """
    if not _is_real(fraction) or not 0 < fraction <= 1:
        raise ValueError(
            f"`{name}` must be a number in (0, 1]. Received: {name}={fraction!r}"
        )
    return float(fraction)


def check_share(share: Any, name: str) -> float:
    """Return `share` as a float, or raise unless it lies in [0, 1].

    Example:
        >>> check_share(0, "gather")
        0.0
    """
    if not _is_real(share) or not 0 <= share <= 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1]. Received: {name}={share!r}"
        )
    return float(share)


def check_positive(value: Any, name: str, below: float = math.inf) -> float:
    """Return `value` as a float, or raise unless it lies above 0 and below a bound.

    Example:
        >>> check_positive(60, "patience")
        60.0
    """
    if not _is_real(value) or not 0 < value < below:
        bound = "" if below == math.inf else f" and below {below:g}"
        raise ValueError(
            f"`{name}` must be a finite number above 0{bound}. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_natural_number(value: Any, name: str) -> int:
    """Return `value` as an int, or raise unless it lies in [0, 2**31).

    Example:
        >>> check_natural_number(0, "rewind_to")
        0
    """
    if not _is_integer(value) or not 0 <= value < _TOO_LARGE:
        raise ValueError(
            f"`{name}` must be an integer from 0 to 2**31 - 1. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_positive_integer(value: Any, name: str) -> int:
    """Return `value` as an int, or raise unless it lies in [1, 2**31).

    Example:
        >>> check_positive_integer(16, "k")
        16
    """
    if not _is_integer(value) or value < 1:
        raise ValueError(
            f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"
        )
    if value >= _TOO_LARGE:
        raise ValueError(f"`{name}` must be below 2**31. Received: {name}={value!r}")
    return int(value)


def check_boolean(value: Any, name: str) -> bool:
    """Return `value` as a bool, or raise unless it is one.

    Example:
        >>> check_boolean(True, "embeddings")
        True
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return bool(value)


def check_integers(values: Any, name: str) -> tuple[int, ...]:
    """Return `values` as a tuple of ints, or raise unless it holds such, at least one.

    Example:
        >>> check_integers([0, -1], "unit_axes")
        (0, -1)
    """
    is_sequence = isinstance(values, list | tuple) and len(values) > 0
    if not is_sequence or not all(map(_is_integer, values)):
        raise ValueError(
            f"`{name}` must be one or more integers. Received: {name}={values!r}"
        )
    return tuple(map(int, values))


def check_verbose(verbose: Any) -> int:
    """Return `verbose`, or raise unless it is 0 or 1.

    Example:
        >>> check_verbose(1)
        1
    """
    if not isinstance(verbose, Integral) or verbose not in (0, 1):
        raise ValueError(f"`verbose` must be 0 or 1. Received: verbose={verbose!r}")
    return int(verbose)


def check_seed(seed: Any, name: str = "seed") -> int | None:
    """Return `seed` as an int or None, or raise unless it is one of these.

    Example:
        >>> check_seed(None) is None
        True
    """
    if seed is None:
        return None
    if not _is_integer(seed) or not 0 <= seed < 2**32:
        raise ValueError(
            f"`{name}` must be None or an integer from 0 to 2**32 - 1. "
            f"Received: {name}={seed!r}"
        )
    return int(seed)


def check_choice(value: Any, name: str, choices: Collection[str]) -> str:
    """Return `value`, or raise unless it is one of `choices`.

    Example:
        >>> check_choice("unit", "selection", ["layer", "unit"])
        'unit'
    """
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in sorted(choices))
        raise ValueError(
            f"`{name}` must be one of {listed}. Received: {name}={value!r}"
        )
    return value


def check_function(value: Any, name: str, known: Mapping[str, Callable]) -> Callable:
    """Return the function that `value` names in `known`, or `value` if it is one.

    Example:
        >>> check_function("absolute", "fitness", {"absolute": abs})(-2)
        2
    """
    if callable(value) and not isinstance(value, type):
        return value
    return known[check_choice(value, name, known)]


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
