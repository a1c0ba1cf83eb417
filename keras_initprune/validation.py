"""Argument checks, worded once: name, rule, and what was received."""

import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any

# What counts, as batches, steps and epochs, goes through 32 bits on the way.
_TOO_LARGE = 2**31


def require(is_met: bool, value: Any, name: str, rule: str) -> None:
    """Raise unless the rule of an argument is met.

    Example:
        >>> require(False, "fast", "batches", "a list")
        Traceback (most recent call last):
        ValueError: `batches` must be a list. Received: batches='fast'
    """
    if not is_met:
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")


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
    require(
        _is_real(fraction) and 0 < fraction <= 1, fraction, name, "a number in (0, 1]"
    )
    return float(fraction)


def check_share(share: Any, name: str) -> float:
    """Return `share` as a float, or raise unless it lies in [0, 1].

    Example:
        >>> check_share(0, "gather")
        0.0
    """
    require(_is_real(share) and 0 <= share <= 1, share, name, "a number in [0, 1]")
    return float(share)


def check_positive(value: Any, name: str, below: float = math.inf) -> float:
    """Return `value` as a float, or raise unless it lies above 0 and below a bound.

    Example:
        >>> check_positive(60, "patience")
        60.0
    """
    bound = "" if below == math.inf else f" and below {below:g}"
    rule = f"a finite number above 0{bound}"
    require(_is_real(value) and 0 < value < below, value, name, rule)
    return float(value)


def check_natural_number(value: Any, name: str) -> int:
    """Return `value` as an int, or raise unless it lies in [0, 2**31).

    Example:
        >>> check_natural_number(0, "rewind_to")
        0
    """
    is_natural = _is_integer(value) and 0 <= value < _TOO_LARGE
    require(is_natural, value, name, "an integer from 0 to 2**31 - 1")
    return int(value)


def check_positive_integer(value: Any, name: str) -> int:
    """Return `value` as an int, or raise unless it lies in [1, 2**31).

    Example:
        >>> check_positive_integer(16, "k")
        16
    """
    is_positive = _is_integer(value) and value >= 1
    require(is_positive, value, name, "an integer of at least 1")
    require(value < _TOO_LARGE, value, name, "below 2**31")
    return int(value)


def check_boolean(value: Any, name: str) -> bool:
    """Return `value` as a bool, or raise unless it is one.

    Example:
        >>> check_boolean(True, "rewind")
        True
    """
    import numpy as np  # `initprune --help` does not wait for it.

    require(isinstance(value, bool | np.bool_), value, name, "True or False")
    return bool(value)


def check_integers(values: Any, name: str) -> tuple[int, ...]:
    """Return `values` as a tuple of ints, or raise unless it holds such, at least one.

    Example:
        >>> check_integers([0, -1], "unit_axes")
        (0, -1)
    """
    is_sequence = isinstance(values, list | tuple) and len(values) > 0
    are_integers = is_sequence and all(map(_is_integer, values))
    require(are_integers, values, name, "one or more integers")
    return tuple(map(int, values))


def check_verbose(verbose: Any) -> int:
    """Return `verbose`, or raise unless it is 0 or 1.

    Example:
        >>> check_verbose(1)
        1
    """
    is_known = isinstance(verbose, Integral) and verbose in (0, 1)
    require(is_known, verbose, "verbose", "0 or 1")
    return int(verbose)


def check_seed(seed: Any, name: str = "seed") -> int | None:
    """Return `seed` as an int or None, or raise unless it is one of these.

    Example:
        >>> check_seed(None) is None
        True
    """
    if seed is None:
        return None
    is_seed = _is_integer(seed) and 0 <= seed < 2**32
    require(is_seed, seed, name, "None or an integer from 0 to 2**32 - 1")
    return int(seed)


def check_unless_auto(value: Any, name: str, check: Callable[[Any, str], Any]) -> Any:
    """Return `"auto"` as it is, and anything else as its check does.

    Example:
        >>> check_unless_auto("auto", "restarts", check_share)
        'auto'
        >>> check_unless_auto(1, "restarts", check_share)
        1.0
    """
    # Arrays do not compare to one truth value.
    is_auto = isinstance(value, str) and value == "auto"
    return value if is_auto else check(value, name)


def check_choice(value: Any, name: str, choices: Collection[str]) -> str:
    """Return `value`, or raise unless it is one of `choices`.

    Example:
        >>> check_choice("unit", "selection", ["layer", "unit"])
        'unit'
    """
    listed = ", ".join(map(repr, sorted(choices)))
    is_choice = isinstance(value, str) and value in choices
    require(is_choice, value, name, f"one of {listed}")
    return value


def one_of(choices: Collection[str]) -> Callable[[Any, str], str]:
    """Return `check_choice` for some choices, as a function of value and name."""
    return lambda value, name: check_choice(value, name, choices)


def check_function(value: Any, name: str, known: Mapping[str, Callable]) -> Callable:
    """Return the function that `value` names in `known`, or `value` if it is one.

    Example:
        >>> check_function("absolute", "fitness", {"absolute": abs})(-2)
        2
    """
    if callable(value) and not isinstance(value, type):
        return value
    return known[check_choice(value, name, known)]


def call_text(made: Any, arguments: Mapping[str, Any]) -> str:
    """Return the call that makes an object, with functions by their names.

    Example:
        >>> call_text({}, {"key": max, "default": 0})
        'dict(key=max, default=0)'
    """
    shown = ", ".join(f"{name}={text(value)}" for name, value in arguments.items())
    return f"{type(made).__name__}({shown})"


def text(value: Any) -> str:
    """Return a value as it is written in a call: functions by their names."""
    return getattr(value, "__qualname__", repr(value))


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
