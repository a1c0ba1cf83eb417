"""Magnitude pruning after the first epochs, in one shot."""

from keras_initprune import validation
from keras_initprune.callbacks.base import PruningCallback, check_epochs, check_finite
from keras_initprune.criteria.fitness import magnitude
from keras_initprune.distributions import Distribution, check_distribution
from keras_initprune.prunable import LayerSelector
from keras_initprune.ranking import rank_masks


class OneShotMagnitude(PruningCallback):
    """Trains densely for the first epochs, then removes the smallest weights at once.

    It is what K-starts with recombination tends to as k grows, and so the reference
    that says what its random starts are worth.

    Args:
        sparsity: Fraction of weights to remove, in [0, 1).
        epochs: Epochs after which they are removed. Defaults to 2.
        distribution: How weights compete: all with each other (`"global"`) or within
            the share of their tensor (`"erk"`, `"uniform"` or a dictionary from tensor
            path to sparsity). Defaults to `"erk"`.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `prunable_weights`. Defaults to all.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, or a tensor or every path through the network would vanish.
        FloatingPointError: If the loss or a weight becomes NaN or infinite before.

    References:
        - Han et al. 2015, "Learning both weights and connections for efficient neural
          networks" (arXiv 1506.02626)

    Example:
        >>> OneShotMagnitude(sparsity=0.95, epochs=2).distribution
        'erk'
    """

    def __init__(
        self,
        sparsity: float,
        epochs: int = 2,
        distribution: Distribution = "erk",
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(check_epochs(epochs), verbose, layers, skip_output, embeddings)
        self.sparsity = validation.check_sparsity(sparsity)
        self.distribution = check_distribution(distribution, ranked=True)

    def end_phase_epoch(self, phase_epoch: int) -> str:
        """Remove once the last epoch of the phase has ended."""
        if phase_epoch < self.phase_epochs:
            return f"waits ({phase_epoch} of {self.phase_epochs} epochs)"
        self.check_reachable(self.sparsity)
        weights = self.values()
        check_finite(weights, "weights")
        scores = {path: magnitude(w, w) for path, w in weights.items()}
        # Counts of tensors are rounded: what is there may be a weight too sparse.
        sparsity = max(self.sparsity, self.sparsity_of_masks())
        return self.apply_masks(
            rank_masks(scores, sparsity, self.distribution, self.masks())
        )
