"""Random pruning at initialisation, the baseline of every other method."""

from dataclasses import dataclass

from keras_initprune import validation
from keras_initprune.arrays.distributions import Distribution, check_distribution
from keras_initprune.arrays.masks import candidate_key, candidate_scores
from keras_initprune.arrays.selection import random_masks
from keras_initprune.callbacks.checks import resolve_seed
from keras_initprune.callbacks.phases import Masks, PruningCallback


@dataclass(eq=False, repr=False)
class RandomPruning(PruningCallback):
    """Removes random weights before training.

    Args:
        sparsity: Fraction of weights to remove, in [0, 1).
        distribution: How many weights every tensor keeps: `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity. Defaults to `"erk"`.
        seed: Seed of the masks. Defaults to None: drawn from Python's generator, which
            `keras.utils.set_random_seed` seeds.
        pattern: `"units"` to remove whole units and filters, which `compact` then takes
            out; the output layer and biases stay, see `graphs.units.unit_ties`. The
            sparsity is that of the other layers, as close as units allow. Defaults to
            None: any weights.
        verbose: 0, or 1 for a line that says what was removed. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, or a tensor or every path through the network would vanish.

    References:
        - Mocanu et al. 2018, "Scalable training of artificial neural networks with
          adaptive sparse connectivity" (arXiv 1707.04780)

    Example:
        >>> callback = RandomPruning(sparsity=0.9, seed=0)
        >>> callback.distribution
        'erk'
    """

    sparsity: float
    distribution: Distribution = "erk"
    seed: int | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sparsity = validation.check_sparsity(self.sparsity)
        self.distribution = check_distribution(self.distribution, ranked=False)
        self.seed = validation.check_seed(self.seed)

    def start(self) -> Masks:
        """Prune."""
        seed, masks = resolve_seed(self.seed), self.masks()
        if self.pattern is not None:
            scores = {
                path: candidate_scores(masks[path].shape, candidate_key(seed, key, 0))
                for path, key in self.keys().items()
            }
            return self.best_masks(scores, self.sparsity, self.distribution, masks)
        return random_masks(masks, self.sparsity, self.distribution, seed, self.keys())
