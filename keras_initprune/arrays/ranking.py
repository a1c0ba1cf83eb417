"""From scores to masks: weights compete within tensors or over the whole network."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from keras_initprune.arrays import distributions
from keras_initprune.arrays.masks import Mask, kept_counts, top_k_mask

Scores = Mapping[str, NDArray]


def rank_masks(
    scores: Scores,
    sparsity: float,
    distribution: distributions.Distribution,
    eligible: Mapping[str, Mask] | None = None,
) -> dict[str, Mask]:
    """Keep the highest scores at an overall sparsity.

    Args:
        scores: From tensor path to scores, higher = keep.
        sparsity: Overall fraction removed, in [0, 1).
        distribution: `"global"`: all weights compete with each other. `"uniform"`,
            `"erk"` or a dictionary: weights compete within the share of their tensor,
            see `keras_initprune.arrays.distributions.allocate`.
        eligible: From tensor path to a mask of the weights that may be kept. Defaults
            to all.

    Returns:
        From tensor path to mask.

    Raises:
        ValueError: If a tensor would keep nothing.

    Example:
        >>> scores = {"a": np.array([4.0, 3.0]), "b": np.array([1.0, 2.0])}
        >>> rank_masks(scores, 0.25, "global")["b"]
        array([False,  True])
    """
    if eligible is None:
        eligible = {path: np.ones(s.shape, bool) for path, s in scores.items()}
    if distribution == distributions.GLOBAL:
        total = round((1.0 - sparsity) * sum(s.size for s in scores.values()))
        return global_top_k(scores, total, eligible)
    counts = distributions.allocate_among(eligible, sparsity, distribution)
    return {p: top_k_mask(s, counts[p], eligible[p]) for p, s in scores.items()}


def gradual_masks(
    scores: Scores,
    alive: Mapping[str, Mask],
    starts: Mapping[str, float],
    sparsity: float,
    progress: float,
    curve: Callable[[float, float, float], float],
    distribution: distributions.Distribution,
    rank: Callable[..., dict[str, Mask]] = rank_masks,
) -> dict[str, Mask]:
    """Keep the highest scores among survivors, on the way to a sparsity.

    Args:
        scores: From tensor path to scores, higher = keep.
        alive: From tensor path to the weights that are left.
        starts: From tensor path to its sparsity at progress 0.
        sparsity: Overall fraction removed at progress 1, in [0, 1).
        progress: Share of the way that is over, in [0, 1].
        curve: The sparsity on the way, from those at its two ends and the progress, as
            `geometric_sparsity` has it. A dictionary's tensors follow it one by one.
        distribution: How weights compete, see `rank_masks`.
        rank: What makes masks of scores, called as `rank_masks`, which is the default.

    Returns:
        From tensor path to mask, each a part of `alive`.

    Raises:
        ValueError: If a tensor would keep nothing.

    Example:
        >>> from keras_initprune.arrays.curves import geometric_sparsity
        >>> alive, scores = {"a": np.ones(8, bool)}, {"a": np.arange(8.0)}
        >>> half_way = gradual_masks(
        ...     scores, alive, {"a": 0.0}, 0.75, 0.5, geometric_sparsity, "erk"
        ... )
        >>> half_way["a"].astype(int).tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    sizes = {path: mask.size for path, mask in alive.items()}
    now, distribution = on_the_way(
        sizes, starts, sparsity, progress, curve, distribution
    )
    # Counts of tensors are rounded: what is there may be a weight too sparse.
    kept = sum(kept_counts(alive).values())
    now = max(now, 1.0 - kept / sum(sizes.values()))
    return rank(scores, now, distribution, alive)


def on_the_way(
    sizes: Mapping[str, int],
    starts: Mapping[str, float],
    sparsity: float,
    progress: float,
    curve: Callable[[float, float, float], float],
    distribution: distributions.Distribution,
) -> tuple[float, distributions.Distribution]:
    """Return the sparsity and the distribution on the way; see `gradual_masks`.

    Example:
        >>> from keras_initprune.arrays.curves import geometric_sparsity
        >>> sizes, starts = {"a": 10, "b": 30}, {"a": 0.0, "b": 0.0}
        >>> on_the_way(sizes, starts, 0.75, 0.5, geometric_sparsity, {"a": 0.0})
        (0.5, {'a': 0.0})
    """
    start = overall_sparsity(sizes, starts)
    if not isinstance(distribution, str):
        distribution = {
            path: curve(starts.get(path, 0.0), end, progress)
            for path, end in distribution.items()
        }
    return curve(start, sparsity, progress), distribution


def overall_sparsity(
    sizes: Mapping[str, int], sparsities: Mapping[str, float]
) -> float:
    """Return the sparsity of all tensors together.

    Example:
        >>> overall_sparsity({"a": 10, "b": 30}, {"a": 1.0, "b": 0.5})
        0.625
    """
    removed = sum(sizes[path] * sparsity for path, sparsity in sparsities.items())
    return removed / sum(sizes.values())


def global_top_k(
    scores: Scores, total: int, eligible: Mapping[str, Mask]
) -> dict[str, Mask]:
    """Keep the `total` highest eligible scores of all tensors together.

    Every tensor keeps at least its best weight, since one without weights would let
    nothing pass.
    """
    if total < len(scores):
        raise ValueError(
            f"{total} weights in all cannot serve {len(scores)} tensors; choose a "
            "lower sparsity."
        )
    contenders = [_raise_best(scores[path][eligible[path]]) for path in scores]
    kept = top_k_mask(np.concatenate(contenders), total)
    parts = np.split(kept, np.cumsum([array.size for array in contenders])[:-1])
    masks = {}
    for path, part in zip(scores, parts, strict=True):
        masks[path] = np.zeros(scores[path].shape, bool)
        masks[path][eligible[path]] = part
    return masks


def _raise_best(contenders: NDArray) -> NDArray:
    """Give the best weight of a tensor a score that always wins, in place."""
    if contenders.size:
        contenders[np.argmax(contenders)] = np.finfo(contenders.dtype).max
    return contenders
