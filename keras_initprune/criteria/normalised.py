"""Scores normalised tensor by tensor, so that layers compete on equal terms."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.criteria import registry
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores

NormalisationName = Literal["l2", "lamp"]


def l2(scores: NDArray) -> NDArray:
    """Return scores over their Euclidean norm in the tensor.

    References:
        - Molchanov et al. 2017, "Pruning convolutional neural networks for resource
          efficient inference" (arXiv 1611.06440), section 2.2

    Example:
        >>> l2(np.array([3.0, -4.0])).tolist()
        [0.6, -0.8]
    """
    scores = np.asarray(scores, np.float64)
    # Divided by the largest first, whose square may be more than numbers hold.
    scores = _over(scores, np.abs(scores).max())
    return _over(scores, float(np.linalg.norm(scores)))


def lamp(scores: NDArray) -> NDArray:
    """Return the square of a score over the sum of the squares that are not smaller.

    `s_u^2 / sum(s_v^2 for s_v >= s_u)`: the share of a weight in what would be left of
    its tensor, were all smaller ones removed. Of equals the first counts as smaller.
    The largest of each tensor has the score 1, so that none loses all of its weights.

    Raises:
        ValueError: If a score is negative: a square would count it as large.

    References:
        - Lee et al. 2021, "Layer-adaptive sparsity for the magnitude-based pruning"
          (arXiv 2010.07611), equation 2

    Example:
        >>> lamp(np.array([2.0, 1.0, 2.0])).tolist()
        [0.5, 0.1111111111111111, 1.0]
    """
    scores = np.asarray(scores, np.float64)
    if (scores < 0).any():
        raise ValueError(
            "`by='lamp'` squares scores, which must not be negative. Use by='l2'. "
            f"Received: the score {scores.min():g}"
        )
    flat = _over(scores, scores.max()).ravel()
    order = np.argsort(flat, kind="stable")
    squares = np.square(flat[order])
    found = np.empty_like(flat)
    found[order] = _over(squares, np.cumsum(squares[::-1])[::-1])
    return found.reshape(scores.shape)


NORMALISATIONS: dict[str, Callable[[NDArray], NDArray]] = {"l2": l2, "lamp": lamp}
"""The normalisations by the names that `Normalised` takes."""


class Normalised(Criterion):
    """Scores as another criterion does, normalised in each tensor.

    Over the whole network (`"global"`, the default distribution here) scores of unlike
    size compete: layers whose weights are drawn small would lose nearly all of them.

    Args:
        criterion: What scores the weights: all that `prune` takes as `method` and that
            ranks weights.
        by: `"l2"`: a score over the Euclidean norm of those of its tensor. `"lamp"`:
            `s_u^2 / sum(s_v^2 for s_v >= s_u)`, the share of a weight in what would be
            left of its tensor, were all smaller ones removed; scores must not be
            negative. `Normalised("magnitude", "lamp")` is LAMP. Defaults to `"l2"`.

    References:
        - Molchanov et al. 2017 (arXiv 1611.06440), section 2.2, for `"l2"`
        - Lee et al. 2021 (arXiv 2010.07611), equation 2, for `"lamp"`

    Example:
        >>> import keras
        >>> from keras_initprune import score_weights
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[-3.0], [4.0]]), np.zeros(1)])
        >>> scores = score_weights(model, Normalised("magnitude"))
        >>> [score.tolist() for score in scores.values()]
        [[[0.6], [0.8]]]
    """

    def __init__(
        self, criterion: registry.Method, by: NormalisationName | str = "l2"
    ) -> None:
        self.criterion = registry.get(criterion)
        self.by = validation.check_choice(by, "by", NORMALISATIONS)
        if not self.criterion.ranks:
            raise ValueError(
                "`criterion` must rank weights of different tensors. "
                f"Received: criterion={criterion!r}"
            )
        self.needs_data = self.criterion.needs_data
        self.looks_at_masks = self.criterion.looks_at_masks
        self.iterations = self.criterion.iterations
        self.resurrects = self.criterion.resurrects

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return the criterion's scores, normalised."""
        normalise = NORMALISATIONS[self.by]
        scores = self.criterion.score(problem, masks)
        return {path: normalise(array) for path, array in scores.items()}


def _over(numbers: NDArray, scale: NDArray | float) -> NDArray:
    """Divide; what is zero stays so where the scale is zero too."""
    return np.divide(numbers, scale, out=np.zeros_like(numbers), where=numbers != 0)
