"""`prune` as a callback, so that a comparison runs all methods in one way."""

from typing import Any

import keras

from keras_initprune.paths.report import sparsity
from keras_initprune.pruning import prune


class InitialPruning(keras.callbacks.Callback):
    """Prunes the model with a criterion before its first step.

    Args:
        method: Name of the criterion, see `prune`.
        sparsity: Fraction of the weights to remove, in [0, 1).
        distribution: How weights compete. Defaults to the criterion's.
        seed: Decides which examples the criterion learns from. Defaults to None: left
            to chance.

    Attributes:
        data: The training data `(x, y)`, to be set before training.
    """

    def __init__(
        self,
        method: str,
        sparsity: float,
        distribution: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.method = method
        self.sparsity = sparsity
        self.distribution = distribution
        self.seed = seed
        self.data: Any = None

    def set_model(self, model: keras.Model) -> None:
        """Prune, before Keras compiles the training step."""
        super().set_model(model)
        prune(
            model,
            self.method,
            self.sparsity,
            self.data,
            distribution=self.distribution,
            seed=self.seed,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the sparsity."""
        if logs is not None:
            logs["sparsity"] = sparsity(self.model)
