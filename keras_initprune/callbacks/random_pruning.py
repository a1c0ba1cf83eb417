"""Random pruning at initialisation, the baseline of every other method."""

from keras_initprune import validation
from keras_initprune.callbacks.base import PruningCallback, resolve_seed
from keras_initprune.distributions import Distribution, allocate, check_distribution
from keras_initprune.masks import candidate_key, random_mask
from keras_initprune.prunable import LayerSelector


class RandomPruning(PruningCallback):
    """Removes random weights before training.

    Args:
        sparsity: Fraction of weights to remove, in [0, 1).
        distribution: How many weights every tensor keeps: `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity. Defaults to `"erk"`.
        seed: Seed of the masks. Defaults to None: drawn from Python's generator, which
            `keras.utils.set_random_seed` seeds.
        verbose: 0 or 1. Defaults to 0.
        layers: Which weights to prune, see `prunable_weights`. Defaults to all.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.

    Raises:
        ValueError: If an argument is invalid.

    References:
        - Mocanu et al. 2018, "Scalable training of artificial neural networks with
          adaptive sparse connectivity" (arXiv 1707.04780)

    Example:
        >>> callback = RandomPruning(sparsity=0.9, seed=0)
        >>> callback.distribution
        'erk'
    """

    def __init__(
        self,
        sparsity: float,
        distribution: Distribution = "erk",
        seed: int | None = None,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(0, verbose, layers, skip_output, embeddings)
        self.sparsity = validation.check_sparsity(sparsity)
        self.distribution = check_distribution(distribution, ranked=False)
        self.seed = validation.check_seed(seed)

    def begin_phase(self) -> None:
        """Prune."""
        seed = resolve_seed(self.seed)
        eligible = self.masks()
        counts = allocate(
            {path: mask.shape for path, mask in eligible.items()},
            self.sparsity,
            self.distribution,
            {path: int(mask.sum()) for path, mask in eligible.items()},
        )
        chosen = {}
        for path, mask in eligible.items():
            key = candidate_key(seed, self._weights[path].key, 0)
            chosen[path] = random_mask(mask.shape, counts[path], key, mask)
        message = self.apply_masks(chosen)
        if self.verbose:
            print(f"{type(self).__name__} {message}")
