"""What callbacks are given and gather: checked, and described."""

import inspect
import random
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.arrays.masks import Mask

# Steps, None for the ends of epochs, or what suits the length of an epoch.
Interval = int | Literal["auto"] | None


def check_finite(values: dict[str, NDArray], what: str) -> dict[str, NDArray]:
    """Return arrays, or raise if one holds NaN or infinity."""
    for path, array in values.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(
                f"The {what} of {path!r} became NaN or infinite in the epochs in "
                "which pruning gathers its scores. Lower the learning rate or check "
                "the data."
            )
    return values


def check_scores(
    scores: Mapping[str, NDArray], alive: Mapping[str, Mask], name: str
) -> dict[str, NDArray]:
    """Return the scores that a function has made, or raise if they cannot rank weights.

    Where all are equal it warns: weights are kept in the order in which they stand.
    """
    checked = {}
    for path, mask in alive.items():
        array = np.asarray(scores[path]) if path in scores else None
        if array is None or array.shape != mask.shape:
            shape = None if array is None else array.shape
            raise ValueError(
                f"`{name}` must return one score per weight: for {path!r} an array of "
                f"the shape {mask.shape}. Received: shape={shape}"
            )
        checked[path] = array
        if _all_equal(array, mask):
            warnings.warn(
                f"The scores of {path!r} are all equal, so `{name}` has nothing to "
                "choose by there. Did the layer train, and with a learning rate above "
                "0? Leave it out with `layers`, or score by something else.",
                stacklevel=2,
            )
    return check_finite(checked, name)


def resolve_seed(seed: int | None) -> int:
    """Return `seed`, or one drawn as `keras.utils.set_random_seed` determines."""
    return random.randint(0, 2**31 - 1) if seed is None else seed


def check_phase(epochs: Any) -> int | float:
    """Return `epochs`, or raise unless it is a number of epochs or a share of them."""
    if isinstance(epochs, float | np.floating):
        rule = "a number of epochs or a share of the epochs of `fit`, in (0, 1)"
        validation.require(bool(0 < epochs < 1), epochs, "epochs", rule)
        return float(epochs)
    return validation.check_positive_integer(epochs, "epochs")


def phase_length(epochs: int | float, total: int) -> int:
    """Return the epochs of a phase: a share of all is rounded down, but not to 0.

    Example:
        >>> phase_length(3, total=9), phase_length(0.5, total=9)
        (3, 4)
    """
    return max(1, int(epochs * total)) if isinstance(epochs, float) else epochs


def check_interval(interval: Any) -> Interval:
    """Return `interval`, or raise unless it is a number of steps, None or `"auto"`."""
    if interval is None:
        return None
    check = validation.check_positive_integer
    return validation.check_unless_auto(interval, "interval", check)


def check_pattern(pattern: Any) -> str | None:
    """Return `pattern`, or raise unless it is None or `"units"`."""
    if pattern is None or (isinstance(pattern, str) and pattern == "units"):
        return pattern
    raise ValueError(
        "`pattern` of a callback must be None (any weights) or 'units' (whole units "
        "and filters); `prune` knows the others. "
        f"Received: pattern={pattern!r}"
    )


def describe(callback: Any) -> dict[str, Any]:
    """Return a callback's class name and arguments, to be kept with a run's record.

    It relies on the habit that every constructor argument is an attribute. Functions,
    layers and patterns become text.
    """
    names = [
        name
        for name in inspect.signature(type(callback)).parameters
        if hasattr(callback, name)
    ]
    arguments = {name: _plain(getattr(callback, name)) for name in names}
    return {"callback": type(callback).__name__, **arguments}


def _plain(value: Any) -> Any:
    is_plain = isinstance(value, bool | int | float | str | dict | None)
    return value if is_plain else validation.text(value)


def _all_equal(scores: NDArray, alive: Mask) -> bool:
    """Return whether there are two alive weights or more, all of the same score."""
    first, last = np.argmax(alive), alive.size - 1 - np.argmax(alive.ravel()[::-1])
    # Most often two of them differ, which is known without a look at the others.
    if first == last or scores.flat[first] != scores.flat[last]:
        return False
    return bool((scores[alive] == scores.flat[first]).all())
