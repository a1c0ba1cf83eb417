"""Gradual magnitude pruning: the smallest weights go, more and more of them."""

from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.callbacks.base import check_finite
from keras_initprune.callbacks.gradual import GradualPruning
from keras_initprune.callbacks.scheduled import Interval
from keras_initprune.criteria.fitness import magnitude
from keras_initprune.distributions import Distribution
from keras_initprune.prunable import LayerSelector
from keras_initprune.schedules import cubic_sparsity


class GradualMagnitude(GradualPruning):
    """Removes the smallest weights while the network trains, on a cubic schedule.

    With the sparsity s0 of the model when the phase begins, the sparsity at progress t
    is `sparsity + (s0 - sparsity) * (1 - t) ** 3`, and exactly `sparsity` when the
    phase ends. What has been removed stays removed.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1).
        epochs: Length of the phase in epochs. Defaults to 6.
        interval: Steps between two removals, or None for the ends of epochs. Defaults
            to `"auto"`: ten removals in every epoch, the last one at its end, or only
            that one where Keras does not know how many steps an epoch has. With
            `steps_per_execution` in `compile` Keras only comes back after so many
            steps, and a removal waits until then.
        distribution: How weights compete: all with each other (`"global"`) or within
            the share of their tensor (`"erk"`, `"uniform"` or a dictionary from tensor
            path to sparsity). Defaults to `"erk"`.
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
        - Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of
          pruning for model compression" (arXiv 1710.01878), equation 1

    Example:
        >>> GradualMagnitude(sparsity=0.95, epochs=4, interval=100).distribution
        'erk'
    """

    def __init__(
        self,
        sparsity: float,
        epochs: int = 6,
        interval: Interval = "auto",
        distribution: Distribution = "erk",
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(
            validation.check_sparsity(sparsity),
            epochs,
            interval,
            distribution,
            verbose,
            layers,
            skip_output,
            embeddings,
        )

    def scores(self) -> dict[str, NDArray]:
        """Return |w|."""
        weights = self.values()
        check_finite(weights, "weights")
        return {path: magnitude(w, w) for path, w in weights.items()}

    def sparsity_between(self, start: float, end: float, progress: float) -> float:
        """Return the sparsity, fast first and slower towards the end."""
        return cubic_sparsity(start, end, progress)
