"""Masks as plain arrays: exact top-k, random candidates, unions.

A mask is a boolean array, True where a weight is kept. Every function here is pure.
Counts are exact also where scores tie: the first in memory order wins.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Masks = dict[str, Mask]  # By tensor path.

# Draws of one block fit into a core's second-level cache. Even, as draws come in pairs.
_BLOCK = 1 << 16


def kept_count(size: int, sparsity: float) -> int:
    """Return how many of `size` weights a `sparsity`-sparse mask keeps.

    `round((1 - sparsity) * size)`.

    Example:
        >>> kept_count(784 * 300, 0.95)
        11760
    """
    return round((1.0 - sparsity) * size)


def kept_counts(masks: Mapping[str, Mask]) -> dict[str, int]:
    """Return how many weights every mask keeps, by tensor path."""
    return {path: int(np.count_nonzero(mask)) for path, mask in masks.items()}


def top_k_mask(scores: NDArray, count: int, eligible: Mask | None = None) -> Mask:
    """Keep exactly the `count` highest scores.

    Args:
        scores: Array of any shape, higher = keep.
        count: How many entries to keep.
        eligible: Boolean array of the shape of `scores`; only entries that are True
            may be kept. Defaults to all.

    Returns:
        Boolean array of the shape of `scores` with exactly `count` entries True.

    Raises:
        ValueError: If `count` exceeds the eligible entries, or a score is not finite.

    Example:
        >>> top_k_mask(np.array([0.5, 2.0, 2.0, 2.0]), 2)
        array([False,  True,  True, False])
    """
    scores = np.asarray(scores)
    available = scores.size if eligible is None else int(np.count_nonzero(eligible))
    if not 0 <= count <= available:
        raise ValueError(
            f"`count` must lie between 0 and the {available} eligible weights. "
            f"Received: count={count}"
        )
    _check_finite(scores)
    if eligible is None:
        return _top_k_rows(scores.reshape(1, -1), [count]).reshape(scores.shape)
    # By positions: picking out and putting back by a mask takes three times as long.
    positions = np.flatnonzero(eligible)
    contenders = scores.ravel()[positions].reshape(1, -1)
    mask = np.zeros(scores.size, bool)
    mask[positions[_top_k_rows(contenders, [count])[0]]] = True
    return mask.reshape(scores.shape)


def top_k_unit_mask(
    scores: NDArray,
    count: int,
    eligible: Mask | None = None,
    unit_axes: Sequence[int] = (-1,),
) -> Mask:
    """Keep the highest scores of every output unit, all of the same fan-in.

    Where `count` is not a multiple of the number of units, the first `count % units`
    units keep one weight more, so that the total is exact. `unit_axes` are the axes
    that index output units; the other arguments are those of `top_k_mask`.

    Raises:
        ValueError: If a unit has fewer eligible weights than its share, or a score is
            not finite.

    Example:
        >>> scores = np.array([[9.0, 1.0], [8.0, 3.0], [7.0, 2.0]])
        >>> top_k_unit_mask(scores, 2).astype(int).tolist()
        [[1, 0], [0, 1], [0, 0]]
    """
    _check_finite(scores)
    rows = unit_rows(np.asarray(scores, np.float64), unit_axes)
    counts = unit_counts(rows.shape[0], count)
    allowed = np.ones(rows.shape, bool)
    if eligible is not None:
        allowed = unit_rows(eligible, unit_axes)
    fewest = allowed.sum(axis=1) - np.asarray(counts)
    if fewest.min() < 0:
        unit = int(np.argmin(fewest))
        raise ValueError(
            "Every unit must have its share of eligible weights: unit "
            f"{unit} has {int(allowed[unit].sum())} and would keep {counts[unit]}. "
            f"Received: count={count}"
        )
    mask = _top_k_rows(np.where(allowed, rows, -np.inf), counts)
    return from_unit_rows(mask, scores.shape, unit_axes)


def random_mask(
    shape: Sequence[int], count: int, key: int, eligible: Mask | None = None
) -> Mask:
    """Draw a mask that keeps exactly `count` weights, uniformly at random.

    The mask is a pure function of its arguments: the counter-based generator Philox
    (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is keyed with
    `key`, so any worker can draw any candidate again instead of storing it.

    Args:
        shape: Shape of the mask.
        count: How many weights to keep.
        key: 128-bit key, see `candidate_key`.
        eligible: Boolean array of shape `shape`; only entries that are True may be
            kept. Defaults to all.

    Returns:
        Boolean array of shape `shape`.

    Raises:
        ValueError: If `count` exceeds the eligible weights.

    Example:
        >>> int(random_mask((4, 5), 7, key=1).sum())
        7
    """
    size = int(np.prod(shape))
    if eligible is not None or not 0 <= count <= size:
        return top_k_mask(_draws(size, key).reshape(shape), count, eligible)
    return _highest_draws(size, count, key).reshape(shape)


def candidate_scores(shape: Sequence[int], key: int) -> NDArray[np.float64]:
    """Draw a number in [0, 1) per weight, of which `random_mask` keeps the highest.

    Returns:
        Array of shape `shape`, uniform in [0, 1).

    Example:
        >>> scores = candidate_scores((4, 5), key=1)
        >>> bool((top_k_mask(scores, 7) == random_mask((4, 5), 7, key=1)).all())
        True
    """
    return (_draws(int(np.prod(shape)), key) / 2**32).reshape(shape)


def random_unit_mask(
    shape: Sequence[int], count: int, key: int, unit_axes: Sequence[int] = (-1,)
) -> Mask:
    """Draw a mask that gives every output unit the same fan-in, as `random_mask` does.

    Its counts are those of `top_k_unit_mask`.

    Example:
        >>> random_unit_mask((6, 3), 9, key=1).sum(axis=0).tolist()
        [3, 3, 3]
    """
    rows = unit_rows(np.empty(shape, np.bool_), unit_axes)
    draws = _draws(rows.size, key).reshape(rows.shape)
    mask = _top_k_rows(draws, unit_counts(rows.shape[0], count))
    return from_unit_rows(mask, shape, unit_axes)


def candidate_key(seed: int, tensor: str, candidate: int) -> int:
    """Return the generator key of one candidate mask.

    Args:
        seed: The user's seed.
        tensor: Identifies the tensor within its model.
        candidate: Index of the candidate.

    Returns:
        An integer of 128 bits, the same on every machine.

    Example:
        >>> candidate_key(0, "0/kernel", 1) == candidate_key(0, "0/kernel", 1)
        True
    """
    text = f"{seed}|{tensor}|{candidate}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def unit_counts(units: int, count: int) -> list[int]:
    """Share `count` weights equally among `units` output units.

    Example:
        >>> unit_counts(4, 10)
        [3, 3, 2, 2]
    """
    share, remainder = divmod(count, units)
    return [share + (unit < remainder) for unit in range(units)]


def unit_rows(array: NDArray, unit_axes: Sequence[int]) -> NDArray:
    """Bring an array into shape `(units, fan_in)`.

    Example:
        >>> unit_rows(np.zeros((3, 3, 8, 16)), (-1,)).shape
        (16, 72)
    """
    front = range(len(unit_axes))
    moved = np.moveaxis(array, tuple(unit_axes), tuple(front))
    units = int(np.prod(moved.shape[: len(unit_axes)]))
    return moved.reshape(units, -1)


def from_unit_rows(
    rows: NDArray, shape: Sequence[int], unit_axes: Sequence[int]
) -> NDArray:
    """Undo `unit_rows`.

    Example:
        >>> kernel = np.arange(12).reshape(2, 2, 3)
        >>> rows = unit_rows(kernel, (-1,))
        >>> bool((from_unit_rows(rows, kernel.shape, (-1,)) == kernel).all())
        True
    """
    axes = [axis % len(shape) for axis in unit_axes]
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    moved = rows.reshape([shape[axis] for axis in (*axes, *rest)])
    return np.ascontiguousarray(np.moveaxis(moved, range(len(axes)), axes))


def _check_finite(scores: NDArray) -> None:
    if scores.dtype.kind == "f" and not np.isfinite(scores).all():
        raise ValueError("`scores` must be finite. Received: an array with NaN or inf.")


def _draws(size: int, key: int) -> NDArray[np.uint32]:
    return _next_draws(np.random.Philox(key=key), size)


def _next_draws(generator: np.random.Philox, size: int) -> NDArray[np.uint32]:
    # Raw output of the bit generator: NumPy promises that it never changes, which it
    # does not promise of the distributions built upon it.
    raw = generator.random_raw((size + 1) // 2)
    return raw.astype("<u8", copy=False).view("<u4")[:size]


def _highest_draws(size: int, count: int, key: int) -> Mask:
    """Keep the `count` highest of `size` draws, as `top_k_mask` would.

    Block by block, so that draws stay in the cache: where the threshold of uniform
    draws lies is known up to a narrow bracket, and only what falls into it is ranked.
    """
    low, high = _bracket(size, count)
    generator = np.random.Philox(key=key)
    mask = np.empty(size, bool)
    positions, contenders = [], []
    for begin in range(0, size, _BLOCK):
        block = mask[begin : begin + _BLOCK]
        draws = _next_draws(generator, block.size)
        np.greater_equal(draws, high, out=block)
        between = np.flatnonzero((draws >= low) ^ block)
        positions.append(between + begin)
        contenders.append(draws[between])
    ranked = np.concatenate(contenders)
    missing = count - int(np.count_nonzero(mask))
    if not 0 <= missing <= ranked.size:  # Once in 10^15 times the bracket misses.
        return _top_k_rows(_draws(size, key).reshape(1, -1), [count])[0]
    winners = _top_k_rows(ranked.reshape(1, -1), [missing])[0]
    mask[np.concatenate(positions)[winners]] = True
    return mask


def _bracket(size: int, count: int) -> tuple[int, int]:
    """Return draws between which the `count`-th highest of `size` surely lies."""
    density = count / size
    margin = 8 * math.sqrt(size * density * (1 - density)) + 8
    low, high = (1 - (count + sign * margin) / size for sign in (1, -1))
    return max(0, math.floor(low * 2**32)), min(2**32, math.ceil(high * 2**32))


def _top_k_rows(rows: NDArray, counts: Sequence[int]) -> Mask:
    """Keep the `counts[i]` highest entries of every row i; the first of equals win."""
    if rows.shape[1] == 0:
        return np.zeros(rows.shape, bool)
    kept = np.asarray(counts).reshape(-1, 1)
    length = rows.shape[1]
    ranks = sorted({min(max(length - count, 0), length - 1) for count in counts})
    ordered = np.partition(rows, ranks, axis=1)
    thresholds = np.take_along_axis(
        ordered, np.clip(length - kept, 0, length - 1), axis=1
    )
    mask = rows > thresholds
    missing = kept - np.count_nonzero(mask, axis=1, keepdims=True)
    ties = rows == thresholds
    crowded = (np.count_nonzero(ties, axis=1, keepdims=True) > missing)[:, 0]
    for row in np.flatnonzero(crowded):
        ties[row, np.flatnonzero(ties[row])[missing[row, 0] :]] = False
    return np.logical_or(mask, ties, out=mask)
