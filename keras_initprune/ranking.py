"""From scores to masks: weights compete within tensors or over the whole network."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keras_initprune import distributions
from keras_initprune.masks import Mask, top_k_mask

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
            see `keras_initprune.distributions.allocate`.
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
    counts = distributions.allocate(
        {path: s.shape for path, s in scores.items()},
        sparsity,
        distribution,
        {path: int(np.count_nonzero(mask)) for path, mask in eligible.items()},
    )
    return {p: top_k_mask(s, counts[p], eligible[p]) for p, s in scores.items()}


def global_top_k(
    scores: Scores, total: int, eligible: Mapping[str, Mask]
) -> dict[str, Mask]:
    """Keep the `total` highest eligible scores of all tensors together.

    Every tensor keeps at least its best weight, since one without weights would let
    nothing pass.

    Raises:
        ValueError: If `total` is less than the number of tensors.
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
