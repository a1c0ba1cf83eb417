"""Random scores, the baseline of every criterion."""

from keras_initprune.arrays.masks import candidate_key, candidate_scores
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


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
        return {
            path: candidate_scores(
                weight.shape, candidate_key(problem.seed, weight.key, 0)
            )
            for path, weight in problem.weights.items()
        }
