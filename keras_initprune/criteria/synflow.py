"""SynFlow: iterative conservation of synaptic flow."""

from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores
from keras_initprune.criteria.flow import LinearNetwork


class SynFlow(Criterion):
    """Scores a weight by the flow through it, without data.

    The flow R is the sum of the outputs for inputs of ones, in the linear network whose
    weights are `|w|`: of a chain of layers `R = 1' |W_L| ... |W_1| 1`. A weight's score
    is `|w| * dR/d|w|`: the sum over all paths that it lies on of the product of their
    weights. Layer by layer these sums are R, so a layer that loses weights has larger
    scores left, and in a chain of layers many small steps never cut one off before they
    have to. Layers beside each other share R: the projections in the shortcuts of a
    ResNet50 carry little of it and lose all their weights but one at 90 %.

    How layers of a real network are made linear is said in `LinearNetwork`. R grows
    with depth beyond what float32 holds, so all of it is computed in float64.

    References:
        - Tanaka et al. 2020, "Pruning neural networks without any data by iteratively
          conserving synaptic flow" (arXiv 2006.05467), algorithm 1

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_initprune import score_weights
        >>> layers = [keras.layers.Dense(1, use_bias=False) for _ in range(2)]
        >>> model = keras.Sequential([keras.Input((2,)), *layers])
        >>> model.set_weights([np.array([[-3.0], [1.0]]), np.array([[2.0]])])
        >>> [score.tolist() for score in score_weights(model, SynFlow).values()]
        [[[6.0], [2.0]], [[8.0]]]
    """

    iterations = 100

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w| * dR/d|w|` of the masked network, in float64."""
        if LinearNetwork not in problem.cache:
            inputs = problem.batches[0].x if problem.batches else None
            problem.cache[LinearNetwork] = LinearNetwork(
                problem.model, problem.weights, inputs
            )
        return problem.cache[LinearNetwork].scores(problem.masked(masks))
