"""FORCE: foresight connection sensitivity."""

import numpy as np

from keras_initprune import validation
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


class FORCE(Criterion):
    """Scores a weight by how much it would matter in the network that is left.

    `s = |w * dL/dw|`, w being the initial weight and the gradient that of the masked
    network `m * w`. A weight that is masked has a score too, so it may come back when
    the network around it has changed: the difference from iterative SNIP. After
    iteration t of T a share `density ** (t / T)` of the weights is kept.

    Args:
        training: Whether batch normalisation takes the statistics of each batch and
            dropout is on, as while training. With False the moving statistics count.
            Programs differ: most score as in training, Synaptic-Flow's do not.
            Defaults to True.

    References:
        - de Jorge et al. 2021, "Progressive skeletonization: trimming more fat from a
          network at initialization" (arXiv 2006.09081)

    Example:
        >>> FORCE().iterations, FORCE().resurrects
        (60, True)
    """

    needs_data = True
    iterations = 60
    resurrects = True

    def __init__(self, training: bool = True) -> None:
        self.training = validation.check_boolean(training, "training")

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w * dL/dw|`, the gradient at the masked network."""
        masked = problem.masked(masks)
        gradients = problem.objective(training=self.training).gradients(
            masked, problem.batches
        )
        return {p: np.abs(w * gradients[p]) for p, w in problem.initial.items()}
