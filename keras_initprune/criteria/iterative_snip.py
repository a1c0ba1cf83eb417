"""Iterative SNIP."""

from keras_initprune.criteria.snip import SNIP


class IterativeSNIP(SNIP):
    """Scores as SNIP does, on the network that earlier iterations have left.

    After iteration t of T a share `density ** (t / T)` of the weights is kept, so no
    iteration removes much, and the gradients are those of a network close to the one
    that is left. What is removed stays removed: the difference from FORCE.

    Args:
        training: As in `SNIP`. Defaults to True.

    References:
        - de Jorge et al. 2021, "Progressive skeletonization: trimming more fat from a
          network at initialization" (arXiv 2006.09081)
        - Verdenius et al. 2020, "Pruning via iterative ranking of sensitivity
          statistics" (arXiv 2006.00896)

    Example:
        >>> IterativeSNIP().iterations, IterativeSNIP().resurrects
        (60, False)
    """

    iterations = 60
