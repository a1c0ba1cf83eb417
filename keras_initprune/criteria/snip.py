"""SNIP: connection sensitivity, in one shot or in iterations."""

import numpy as np

from keras_initprune import validation
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


class SNIP(Criterion):
    """Scores a weight by how much the loss would feel its removal, to first order.

    With a factor m per weight, of which the mask is made, `s = |dL(m * w) / dm|` at
    m = 1, which is `|w * dL/dw|`. The paper divides by the sum over the network, which
    changes no rank. A weight that is masked already has the score 0.

    Args:
        training: Whether batch normalisation takes the statistics of each batch and
            dropout is on, as while training. With False the moving statistics count.
            Programs differ: most score as in training, Synaptic-Flow's do not.
            Defaults to True.

    References:
        - Lee et al. 2019, "SNIP: single-shot network pruning based on connection
          sensitivity" (arXiv 1810.02340)

    Example:
        >>> import keras
        >>> from keras_initprune import score_weights
        >>> unit = keras.layers.Dense(1, use_bias=False)
        >>> model = keras.Sequential([keras.Input((2,)), unit])
        >>> model.set_weights([np.array([[3.0], [1.0]])])
        >>> model.compile("sgd", "mse", run_eagerly=True)
        >>> data = np.array([[1.0, 2.0]]), np.array([[4.0]])  # L = 1, dL/dw = (2, 4)
        >>> [score.tolist() for score in score_weights(model, SNIP, data).values()]
        [[[6.0], [4.0]]]
    """

    needs_data = True

    def __init__(self, training: bool = True) -> None:
        self.training = validation.check_boolean(training, "training")

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w * dL/dw|`, the gradient at the masked network."""
        masked = problem.masked(masks)
        objective = problem.objective(training=self.training)
        gradients = objective.gradients(masked, problem.batches)
        # What may come back is scored by the value that it would have.
        weights = problem.initial if self.resurrects else masked
        return {path: np.abs(weights[path] * gradients[path]) for path in gradients}
