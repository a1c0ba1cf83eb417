"""SET: weights are dropped by magnitude and grown at random."""

from collections.abc import Mapping

from numpy.typing import NDArray

from keras_initprune.callbacks.sparse_training import SparseTraining
from keras_initprune.distributions import Distribution
from keras_initprune.masks import Mask, candidate_scores
from keras_initprune.prunable import LayerSelector


class SET(SparseTraining):
    """Trains a network that is sparse from the first step, and rewires it at random.

    Sparse evolutionary training. It starts from a random mask. Whenever a change is due
    each tensor of n kept weights drops the `int(share * n)` smallest and grows as many
    at random among the others. The share falls from `fraction` to 0 along a cosine,
    `fraction / 2 * (1 + cos(pi * t / T))` at step t of the T steps of the phase, as
    Evci et al. have it (constant in Mocanu et al., who also grow at random values).
    The number of weights that a tensor keeps never changes. What grows begins at zero,
    and so do its optimizer slots.

    Args:
        sparsity: Fraction of weights that is removed at every moment, in [0, 1).
        epochs: Length of the phase: a number of epochs, or a share of the epochs of
            `fit`, which is rounded down. Defaults to 0.75.
        interval: Steps between two changes. Defaults to None: one at the end of every
            epoch of the phase, whose t is the step at which the epoch began.
        fraction: Share of the kept weights that a change at step 0 would replace, in
            (0, 1]. Defaults to 0.3.
        distribution: How many weights every tensor keeps: `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity. Defaults to `"erk"`.
        seed: Seed of the first mask and of what grows. Defaults to None: drawn from
            Python's generator, which `keras.utils.set_random_seed` seeds.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `prunable_weights`. Defaults to all.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, `interval` meets data of unknown length, or a tensor or every path
            through the network would vanish.
        FloatingPointError: If the loss or a weight becomes NaN or infinite during the
            phase.

    References:
        - Mocanu et al. 2018, "Scalable training of artificial neural networks with
          adaptive sparse connectivity" (arXiv 1707.04780), algorithm 1

    Example:
        >>> SET(sparsity=0.95, seed=0).fraction
        0.3
    """

    def __init__(
        self,
        sparsity: float,
        epochs: int | float = 0.75,
        interval: int | None = None,
        fraction: float = 0.3,
        distribution: Distribution = "erk",
        seed: int | None = None,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(
            sparsity,
            epochs,
            interval,
            fraction,
            distribution,
            seed,
            verbose,
            layers,
            skip_output,
            embeddings,
        )

    def growth_scores(self, masks: Mapping[str, Mask]) -> dict[str, NDArray]:
        """Return random numbers."""
        index = self._changes + 1  # The first mask took the draws of index 0.
        return {
            p: candidate_scores(m.shape, self.key(p, index)) for p, m in masks.items()
        }
