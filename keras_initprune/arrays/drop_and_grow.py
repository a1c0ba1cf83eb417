"""Drop and grow: the steps of dynamic sparse training, as pure functions."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keras_initprune.arrays.masks import Mask, random_mask, top_k_mask


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


def dissipate_and_restart(
    movement: NDArray,
    pull: NDArray,
    alive: Mask,
    count: int,
    fresh: int,
    k: int,
    key: int,
) -> tuple[Mask, Mask]:
    """Keep what moved most, and let the fittest of k random starts begin anew.

    Args:
        movement: How far every weight moved, for its age; higher = keep.
        pull: Fitness of the weights that are not alive, higher = restart.
        alive: Boolean array of the same shape, True where a weight is kept now.
        count: How many weights are kept after the change, restarted ones included.
        fresh: How many of them are to be restarted. Fewer are where fewer were removed
            before, and more where fewer are alive than survivors are wanted.
        k: Number of random masks among whose union the fittest are restarted.
        key: 128-bit key of the draw, see `masks.candidate_key`.

    Returns:
        The survivors, a part of `alive`, and the restarted weights, none of which was
        alive: together exactly `count`. What is removed is not restarted at once.

    Raises:
        ValueError: If `count` exceeds the weights, or a score is not finite.

    Example:
        >>> movement = np.array([3.0, 1.0, 0.0, 0.0])
        >>> pull = np.array([0.0, 9.0, 1.0, 2.0])
        >>> alive = np.array([True, True, False, False])
        >>> survivors, restarted = dissipate_and_restart(
        ...     movement, pull, alive, count=2, fresh=1, k=100, key=1
        ... )
        >>> survivors.astype(int).tolist(), restarted.astype(int).tolist()
        ([1, 0, 0, 0], [0, 0, 0, 1])
    """
    living = int(np.count_nonzero(alive))
    fresh = min(max(fresh, count - living), alive.size - living)
    survivors = top_k_mask(movement, count - fresh, alive)
    restarted = np.zeros(alive.size, bool)
    if fresh:
        # By positions: picking out by a mask takes several times as long.
        dead = np.flatnonzero(~alive)
        starts = dead[np.flatnonzero(random_union(dead.size, fresh, k, key))]
        fittest = top_k_mask(pull.ravel()[starts], fresh)
        restarted[starts[np.flatnonzero(fittest)]] = True
    return survivors, restarted.reshape(alive.shape)


def agreement(
    before: Mapping[str, NDArray],
    now: Mapping[str, NDArray],
    where: Mapping[str, Mask],
) -> float:
    """Return how much two gradients agree: their cosine, averaged over entries.

    A tensor's cosine counts as often as it has entries, so that the scale of a layer's
    gradients does not matter.

    Args:
        before: From tensor path to gradient.
        now: The same at another time.
        where: From tensor path to the entries that are looked at.

    Returns:
        A number in [-1, 1]; 0 if there is nothing to look at.

    Example:
        >>> before, now = {"a": np.array([3.0, 4.0])}, {"a": np.array([4.0, 3.0])}
        >>> round(agreement(before, now, {"a": np.array([True, True])}), 2)
        0.96
    """
    total, entries = 0.0, 0
    for path, chosen in where.items():
        # Zeros add nothing; picking the entries out takes five times as long.
        first, second = before[path] * chosen, now[path] * chosen
        size = int(np.count_nonzero(chosen))
        entries += size
        scale = float(np.linalg.norm(first) * np.linalg.norm(second))
        if scale > 0:
            total += size * float(np.vdot(first, second)) / scale
    return total / entries if entries else 0.0


def random_union(size: int, count: int, k: int, key: int) -> Mask:
    """Draw the union of k random masks of `count` out of `size` weights each.

    As every mask is as likely as any other, the union is a uniformly random mask of its
    own size. That size hardly varies, so its mean is taken, and one draw does, however
    large k is.

    Example:
        >>> [int(random_union(1000, 100, k, key=1).sum()) for k in (1, 2, 16, 1000)]
        [100, 190, 815, 1000]
    """
    union = size * (1.0 - (1.0 - count / size) ** k)
    return random_mask((size,), max(count, round(union)), key)
