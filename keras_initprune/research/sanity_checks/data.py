"""Corrupted data: labels or pixels that no longer say what they said."""

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation

_BLOCK = 1024  # Images that are shuffled at a time, so that memory stays small.


def corrupt_labels(y: NDArray, fraction: float = 1.0, seed: int = 0) -> NDArray:
    """Return targets of which a fraction is permuted among the examples.

    Classes keep their frequencies, and targets of any kind their distribution. With C
    classes about one permuted target in C is still right by chance. A method that finds
    as good a mask with such data learns nothing from labels.

    Args:
        y: Targets of shape `(examples, ...)`.
        fraction: Share of the examples that take part, in (0, 1]. Defaults to 1.0.
        seed: Seed. Defaults to 0.

    Returns:
        A new array like `y`.

    Raises:
        ValueError: If `fraction` lies outside (0, 1].

    References:
        - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
          jackpot" (arXiv 2009.11094), section 3

    Example:
        >>> y = corrupt_labels(np.arange(10), seed=1)
        >>> sorted(y.tolist()) == list(range(10)), (y == np.arange(10)).all().item()
        (True, False)
    """
    validation.check_fraction(fraction)
    generator = np.random.default_rng(seed)
    corrupted = np.array(y)
    chosen = generator.permutation(len(corrupted))[: round(fraction * len(corrupted))]
    corrupted[chosen] = corrupted[generator.permutation(chosen)]
    return corrupted


def corrupt_pixels(x: NDArray, seed: int = 0, per_image: bool = True) -> NDArray:
    """Return images whose pixels are permuted; the channels of a pixel stay together.

    Args:
        x: Images of shape `(examples, height, width, channels)` or `(examples, height,
            width)`, or vectors of shape `(examples, features)`.
        seed: Seed. Defaults to 0.
        per_image: Whether every image gets a permutation of its own, which leaves its
            histogram only; otherwise all get the same, which hides locality but
            nothing from a dense layer. Defaults to True.

    Returns:
        A new array like `x`.

    Raises:
        ValueError: If `x` has less than two or more than four axes.

    References:
        - Zhang et al. 2017, "Understanding deep learning requires rethinking
          generalization" (arXiv 1611.03530), section 2
        - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
          jackpot" (arXiv 2009.11094), section 3

    Example:
        >>> x = np.arange(12.0).reshape(2, 6)
        >>> np.sort(corrupt_pixels(x, seed=1), axis=1).tolist() == x.tolist()
        True
    """
    x = np.asarray(x)
    if not 2 <= x.ndim <= 4:
        raise ValueError(
            "`x` must be vectors (examples, features) or images (examples, height, "
            f"width[, channels]). Received: an array of shape {x.shape}"
        )
    generator = np.random.default_rng(seed)
    pixels = x.reshape(len(x), int(np.prod(x.shape[1:3])), -1)
    if not per_image:
        return pixels[:, generator.permutation(pixels.shape[1])].reshape(x.shape)
    corrupted = np.empty_like(pixels)
    for begin in range(0, len(pixels), _BLOCK):
        block = pixels[begin : begin + _BLOCK]
        order = np.argsort(generator.random(block.shape[:2], np.float32), axis=1)
        corrupted[begin : begin + _BLOCK] = np.take_along_axis(
            block, order[:, :, None], axis=1
        )
    return corrupted.reshape(x.shape)
