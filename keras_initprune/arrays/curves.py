"""Curves: how sparsity and the share of rewired weights change with progress.

Progress goes from 0 to 1. A sparsity goes from `start` to `end`, both in [0, 1), and a
share of rewired weights from `fraction`, in (0, 1], to 0.
"""

import math
from collections.abc import Callable, Mapping

# What `interval="auto"` means where epochs are long enough. On MNIST ten removals an
# epoch leave fewer errors than one, and more gain nothing.
CHANGES_PER_EPOCH = 10


def cubic_sparsity(start: float, end: float, progress: float) -> float:
    """Return the sparsity of gradual pruning, fast first and slower towards the end.

    `end + (start - end) * (1 - progress) ** 3`.

    References:
        - Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of
          pruning for model compression" (arXiv 1710.01878), equation 1

    Example:
        >>> [cubic_sparsity(0.0, 0.8, progress) for progress in (0.0, 0.5, 1.0)]
        [0.0, 0.7000000000000001, 0.8]
    """
    return end + (start - end) * (1.0 - progress) ** 3


def geometric_sparsity(start: float, end: float, progress: float) -> float:
    """Return the sparsity whose density falls by the same factor in equal times.

    `1 - (1 - start) ** (1 - progress) * (1 - end) ** progress`.

    Example:
        >>> [geometric_sparsity(0.0, 0.75, progress) for progress in (0.0, 0.5, 1.0)]
        [0.0, 0.5, 0.75]
    """
    return 1.0 - (1.0 - start) ** (1.0 - progress) * (1.0 - end) ** progress


def power_sparsity(start: float, end: float, progress: float, power: float) -> float:
    """Return the sparsity that is higher early on than on the geometric way from 0.

    `max(start, 1 - (1 - end) ** (progress ** power))`: with `power` 1 it is that way,
    with less weights go earlier.

    Example:
        >>> [power_sparsity(0.6, 0.75, progress, 0.5) for progress in (0.0, 0.25, 1.0)]
        [0.6, 0.6, 0.75]
    """
    return max(start, 1.0 - (1.0 - end) ** (progress**power))


def power_for(steps: float) -> float:
    """Return the power of `power_sparsity` that suits a phase of so many steps.

    A network that has just begun to learn dies of many removals: 1 up to 300 steps,
    0.5 from 600 steps on, and 300 / steps between.

    Example:
        >>> [power_for(steps) for steps in (200, 400, 3300)]
        [1.0, 0.75, 0.5]
    """
    return min(1.0, max(0.5, 300.0 / steps))


def cosine_fraction(fraction: float, progress: float) -> float:
    """Return the share of kept weights that is rewired, falling to 0 along a cosine.

    `fraction / 2 * (1 + cos(pi * progress))`.

    References:
        - Dettmers and Zettlemoyer 2019, "Sparse networks from scratch: faster training
          without losing performance" (arXiv 1907.04840)
        - Evci et al. 2020, "Rigging the lottery" (arXiv 1911.11134), section 3

    Example:
        >>> [round(cosine_fraction(0.3, p), 4) for p in (0.0, 0.5, 1.0)]
        [0.3, 0.15, 0.0]
    """
    return fraction / 2.0 * (1.0 + math.cos(math.pi * progress))


def power_fraction(fraction: float, progress: float, power: float) -> float:
    """Return the share of kept weights that is rewired, falling to 0 as a power.

    `fraction * (1 - progress) ** power`: constant with `power` 0, a line with 1.

    References:
        - Evci et al. 2020, "Rigging the lottery" (arXiv 1911.11134), appendix G

    Example:
        >>> [power_fraction(0.4, progress, 3) for progress in (0.0, 0.5, 1.0)]
        [0.4, 0.05, 0.0]
    """
    return fraction * (1.0 - progress) ** power


Schedule = Callable[[float, float], float]

FRACTIONS: Mapping[str, Schedule] = {
    "constant": lambda fraction, progress: power_fraction(fraction, progress, 0),
    "cosine": cosine_fraction,
    "linear": lambda fraction, progress: power_fraction(fraction, progress, 1),
    "cubic": lambda fraction, progress: power_fraction(fraction, progress, 3),
}
"""How the share that is rewired falls, from its start and the progress."""
