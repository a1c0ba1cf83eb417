"""What a criterion is, and what it gets to see."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints.weights import PrunableWeight
from keras_initprune.criteria.data import Batch
from keras_initprune.criteria.training_loss import Objective

Scores = dict[str, NDArray]
Masks = Mapping[str, Mask]


class Problem:
    """What a criterion scores: weights of a model, and the data that it learns from.

    Args:
        model: A built model. No method changes it.
        weights: The weights to score, by tensor path.
        batches: Data for the criteria that need some. Defaults to none.
        loss: What `compile` takes as `loss`. Defaults to the compiled model's.
        seed: Seed of the criteria that draw. Defaults to 0.

    Attributes:
        cache: What a criterion keeps from one iteration to the next, such as compiled
            functions.

    Example:
        >>> from keras_initprune.constraints.weights import prunable_weights
        >>> layers = [keras.Input((4,)), keras.layers.Dense(2, name="unit")]
        >>> model = keras.Sequential(layers)
        >>> problem = Problem(model, prunable_weights(model))
        >>> {path: weight.shape for path, weight in problem.initial.items()}
        {'unit/kernel': (4, 2)}
    """

    def __init__(
        self,
        model: keras.Model,
        weights: Mapping[str, PrunableWeight],
        batches: Sequence[Batch] = (),
        loss: Any = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.weights = dict(weights)
        self.batches = list(batches)
        self.seed = seed
        self._loss = loss
        self.cache: dict[Any, Any] = {}

    @functools.cached_property
    def initial(self) -> dict[str, NDArray]:
        """The weights as they are in the model, by tensor path."""
        return {path: weight.numpy() for path, weight in self.weights.items()}

    def objective(self, temperature: float = 1.0, training: bool = True) -> Objective:
        """Return the training loss, the same object each time: it is compiled."""
        key = (Objective, temperature, training)
        if key not in self.cache:
            self.cache[key] = Objective(
                self.model, self.weights, self._loss, temperature, training
            )
        return self.cache[key]

    def masked(self, masks: Masks) -> dict[str, NDArray]:
        """Return the weights with zeros where masks remove them."""
        return {
            path: np.where(masks[path], weight, np.float32(0))
            for path, weight in self.initial.items()
        }


class Criterion:
    """Base of the criteria: a criterion scores weights before training, and no more.

    A criterion of your own overrides `score`, and the attributes where they differ.

    Attributes:
        needs_data: Whether `score` reads the problem's batches. Defaults to False.
        looks_at_masks: Whether scores depend on what is masked already, so that it
            makes a difference to prune in several iterations. Defaults to True.
        iterations: Iterations that `prune` takes by default. Defaults to 1.
        resurrects: Whether later iterations may bring back what earlier ones removed.
            Defaults to False.
        distribution: Distribution that `prune` takes by default. Defaults to
            `"global"`.
        ranks: Whether scores of different tensors can be compared, which `"global"`
            needs. Defaults to True.

    Example:
        >>> class Largest(Criterion):
        ...     looks_at_masks = False
        ...
        ...     def score(self, problem, masks):
        ...         return problem.initial
        >>> Largest().iterations
        1
    """

    needs_data = False
    looks_at_masks = True
    iterations = 1
    resurrects = False
    distribution = "global"
    ranks = True

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Score every weight, higher = keep.

        Args:
            problem: The weights and the data.
            masks: From tensor path to the current mask.

        Returns:
            From tensor path to an array of the tensor's shape. Scores of weights that
            are masked matter only if the criterion `resurrects`.
        """
        raise NotImplementedError
