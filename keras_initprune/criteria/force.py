"""FORCE: foresight connection sensitivity."""

from keras_initprune.criteria.snip import SNIP


class FORCE(SNIP):
    """Scores a weight by how much it would matter in the network that is left.

    `s = |w * dL/dw|`, w being the initial weight and the gradient that of the masked
    network `m * w`. A weight that is masked has a score too, so it may come back when
    the network around it has changed: the difference from iterative SNIP. After
    iteration t of T a share `density ** (t / T)` of the weights is kept.

    Args:
        training: Whether the model runs as in training, see `SNIP`. Defaults to True.

    References:
        - de Jorge et al. 2021, "Progressive skeletonization: trimming more fat from a
          network at initialization" (arXiv 2006.09081)

    Example:
        >>> FORCE().iterations, FORCE().resurrects
        (60, True)
    """

    iterations = 60
    resurrects = True
