"""Scores of weights as they are drawn: magnitude, and chance as the baseline."""

from collections.abc import Mapping

import numpy as np

from keras_initprune.arrays.masks import candidate_key, candidate_scores
from keras_initprune.constraints.weights import PrunableWeight
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


def random_scores(
    weights: Mapping[str, PrunableWeight], seed: int, index: int = 0
) -> Scores:
    """Draw one number per weight, the same at the same index of a seed's draws."""
    return {
        path: candidate_scores(weight.shape, candidate_key(seed, weight.key, index))
        for path, weight in weights.items()
    }


class Magnitude(Criterion):
    """Scores a weight by its magnitude: `|w|`.

    At initialisation it says no more than which weights were drawn large. On a trained
    model it is the usual one-shot magnitude pruning.

    The default distribution is `"erk"`. Over the whole network (`"global"`) magnitude
    prunes most where fan-in is large, since initializers draw small weights there: of
    784-300-100-10 with truncated normal weights a sparsity of 98 % leaves one weight in
    the first layer.

    References:
        - Han et al. 2015, "Learning both weights and connections for efficient neural
          networks" (arXiv 1506.02626)
        - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
          missing the mark?" (arXiv 2009.08576), for magnitude before training

    Example:
        >>> import keras
        >>> from keras_initprune import score_weights
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[-3.0], [1.0]]), np.zeros(1)])
        >>> [score.tolist() for score in score_weights(model, Magnitude).values()]
        [[[3.0], [1.0]]]
    """

    looks_at_masks = False
    distribution = "erk"

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w|`."""
        return {path: np.abs(weight) for path, weight in problem.initial.items()}


class Random(Criterion):
    """Scores weights at random: every mask of the same counts is as likely.

    The draws are a function of the problem's seed and the place of a tensor in its
    model, the same as those of `RandomPruning`.

    References:
        - Mocanu et al. 2018, "Scalable training of artificial neural networks with
          adaptive sparse connectivity" (arXiv 1707.04780), for random masks with the
          distribution `"erk"`

    Example:
        >>> import keras
        >>> from keras_initprune import score_weights
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> [first], [again] = (
        ...     score_weights(model, Random, seed=0).values() for _ in range(2)
        ... )
        >>> first.shape, bool((first == again).all())
        ((4, 2), True)
    """

    looks_at_masks = False
    distribution = "erk"
    ranks = False

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Draw one number per weight."""
        return random_scores(problem.weights, problem.seed)
