"""Gradual magnitude pruning: the smallest weights go, more and more of them."""

import numpy as np

from keras_initprune import validation
from keras_initprune.callbacks.base import check_epochs, check_finite
from keras_initprune.callbacks.schedule import State
from keras_initprune.callbacks.scheduled import ScheduledPruning
from keras_initprune.criteria.fitness import magnitude
from keras_initprune.distributions import Distribution, check_distribution
from keras_initprune.prunable import LayerSelector
from keras_initprune.ranking import rank_masks
from keras_initprune.schedules import cubic_sparsity


class GradualMagnitude(ScheduledPruning):
    """Removes the smallest weights while the network trains, on a cubic schedule.

    With the sparsity s0 of the model when the phase begins, the sparsity at progress t
    is `sparsity + (s0 - sparsity) * (1 - t) ** 3`, and exactly `sparsity` when the
    phase ends. What has been removed stays removed.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1).
        epochs: Length of the phase in epochs. Defaults to 4.
        interval: Steps between two removals. Defaults to None: at the end of every
            epoch of the phase. With `steps_per_execution` in `compile` Keras only comes
            back after so many steps, and a removal waits until then.
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
        epochs: int = 4,
        interval: int | None = None,
        distribution: Distribution = "erk",
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(
            check_epochs(epochs), interval, verbose, layers, skip_output, embeddings
        )
        self.sparsity = validation.check_sparsity(sparsity)
        self.distribution = check_distribution(distribution, ranked=True)

    def begin_phase(self) -> None:
        """Know nothing yet of how sparse the phase will find the model."""
        super().begin_phase()
        self._start_sparsities: dict[str, float] = {}

    def phase_state(self) -> State:
        """Return how sparse the model was when the phase began."""
        starts = {path: np.array(s) for path, s in self._start_sparsities.items()}
        return {**super().phase_state(), "start_sparsities": starts}

    def resume_phase(self, state: State) -> None:
        """Go on along the same curve."""
        super().resume_phase(state)
        starts = state.get("start_sparsities", {})
        self._start_sparsities = {path: s.item() for path, s in starts.items()}

    def start(self) -> None:
        """Remember how sparse the model is."""
        self.check_reachable(self.sparsity)
        self._start_sparsities = {p: 1.0 - m.mean() for p, m in self.masks().items()}

    def change(self, progress: float) -> bool:
        """Remove the smallest of the surviving weights."""
        weights, alive = self.values(), self.masks()
        check_finite(weights, "weights")
        scores = {path: magnitude(w, w) for path, w in weights.items()}
        sparsity = cubic_sparsity(self._start_sparsity(), self.sparsity, progress)
        # Counts of tensors are rounded: what is there may be a weight too sparse.
        sparsity = max(sparsity, self.sparsity_of_masks())
        distribution = self._scheduled_distribution(progress)
        self.apply_masks(rank_masks(scores, sparsity, distribution, alive))
        return True

    def finish(self) -> None:
        """Reach the sparsity that was asked for, wherever the last interval ended."""
        self.change(1.0)

    def describe(self) -> str:
        """Return how many weights are left."""
        return (
            f"kept {self.kept():,} of {self.size():,} weights "
            f"(sparsity {self.sparsity_of_masks():.4f})"
        )

    def _start_sparsity(self) -> float:
        removed = [
            self._weights[path].size * sparsity
            for path, sparsity in self._start_sparsities.items()
        ]
        return sum(removed) / self.size()

    def _scheduled_distribution(self, progress: float) -> Distribution:
        if isinstance(self.distribution, str):
            return self.distribution
        return {
            path: cubic_sparsity(self._start_sparsities.get(path, 0.0), end, progress)
            for path, end in self.distribution.items()
        }
