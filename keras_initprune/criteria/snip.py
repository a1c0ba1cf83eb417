"""SNIP: connection sensitivity, in one shot or in iterations."""

import numpy as np

from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


class SNIP(Criterion):
    """Scores a weight by how much the loss would feel its removal, to first order.

    With a factor m per weight, of which the mask is made, `s = |dL(m * w) / dm|` at
    m = 1, which is `|w * dL/dw|`. The paper divides by the sum over the network, which
    changes no rank. A weight that is masked already has the score 0.

    References:
        - Lee et al. 2019, "SNIP: single-shot network pruning based on connection
          sensitivity" (arXiv 1810.02340)
    """

    needs_data = True

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w * dL/dw|` of the masked network."""
        weights = problem.masked(masks)
        gradients = problem.objective().gradients(weights, problem.batches)
        return {path: np.abs(weights[path] * gradients[path]) for path in gradients}
