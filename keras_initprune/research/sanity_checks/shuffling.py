"""Layer-wise shuffle: the counts of a mask, at random places."""

from collections.abc import Mapping

import numpy as np

from keras_initprune.arrays.masks import Mask, candidate_key, random_mask


def shuffle_layerwise(masks: Mapping[str, Mask], seed: int = 0) -> dict[str, Mask]:
    """Return masks that keep as many weights per tensor, uniformly at random.

    What a method gains over them it gains by choosing weights; the rest it gains by
    choosing how many weights every layer keeps.

    Args:
        masks: From tensor path to a boolean array, 1 = keep.
        seed: Seed of the shuffle. With the place of a tensor in `masks`, not its name,
            it decides the mask. Defaults to 0.

    Returns:
        From tensor path to a new boolean array.

    References:
        - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
          missing the mark?" (arXiv 2009.08576), section 5

    Example:
        >>> mask = np.arange(100).reshape(10, 10) < 30
        >>> int(shuffle_layerwise({"kernel": mask}, seed=1)["kernel"].sum())
        30
    """
    return {
        path: random_mask(
            mask.shape,
            int(np.count_nonzero(mask)),
            candidate_key(seed, f"{index}/shuffle", 0),
        )
        for index, (path, mask) in enumerate(masks.items())
    }
