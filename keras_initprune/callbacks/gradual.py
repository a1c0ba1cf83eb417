"""What callbacks share that remove more and more weights, up to a given sparsity."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keras_initprune import constraints
from keras_initprune.callbacks.base import check_epochs
from keras_initprune.callbacks.schedule import State
from keras_initprune.callbacks.scheduled import Interval, ScheduledPruning
from keras_initprune.distributions import Distribution, check_distribution
from keras_initprune.prunable import LayerSelector
from keras_initprune.ranking import rank_masks


class GradualPruning(ScheduledPruning):
    """Base of callbacks that remove the lowest scores on the way to a sparsity.

    What has been removed stays removed. Subclasses override `scores` and
    `sparsity_between`.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1); None if
            the subclass removes by another rule.
        epochs: Length of the phase in epochs.
        interval: See `ScheduledPruning`.
        distribution: How weights compete.
        verbose: See `PruningCallback`.
        layers: See `PruningCallback`.
        skip_output: See `PruningCallback`.
        embeddings: See `PruningCallback`.
    """

    def __init__(
        self,
        sparsity: float | None,
        epochs: int,
        interval: Interval,
        distribution: Distribution,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(
            check_epochs(epochs), interval, verbose, layers, skip_output, embeddings
        )
        self.sparsity = sparsity
        self.distribution = check_distribution(distribution, ranked=True)
        self._epoch_ends = False

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
        self._kept_before = self.kept()

    def start(self) -> None:
        """Remember how sparse the callbacks before this one have left the model."""
        self._start_sparsities = {p: 1.0 - m.mean() for p, m in self.masks().items()}
        self._kept_before = self.kept()
        if self.sparsity is not None:
            self.check_reachable(self.sparsity)

    def change(self, progress: float) -> bool:
        """Remove the lowest scores among the surviving weights."""
        assert self.sparsity is not None
        alive, scores = self.masks(), self.scores()
        sparsity = self.sparsity_between(
            self._start_sparsity(), self.sparsity, progress
        )
        # Counts of tensors are rounded: what is there may be a weight too sparse.
        sparsity = max(sparsity, self.sparsity_of_masks())
        distribution = self._scheduled_distribution(progress)
        masks = rank_masks(scores, sparsity, distribution, alive)
        if self._epoch_ends:
            self.apply_masks(masks)
        else:
            constraints.set_masks(self.model, masks)
        return True

    def end_phase_epoch(self, phase_epoch: int) -> str:
        """Check once per epoch, as it takes longer than removing, that paths remain."""
        self._epoch_ends = True
        message = super().end_phase_epoch(phase_epoch)
        self._epoch_ends = False
        return message

    def finish(self) -> None:
        """Reach the sparsity that was asked for, wherever the last interval ended."""
        self.change(1.0)

    def describe(self) -> str:
        """Return how many weights the last epoch has cost, and how many are left."""
        before, self._kept_before = self._kept_before, self.kept()
        return (
            f"removed {before - self._kept_before:,} weights and kept "
            f"{self._kept_before:,} of {self.size():,} "
            f"(sparsity {self.sparsity_of_masks():.4f})"
        )

    def scores(self) -> Mapping[str, NDArray]:
        """Return the scores of all weights, higher = keep."""
        raise NotImplementedError

    def sparsity_between(self, start: float, end: float, progress: float) -> float:
        """Return the sparsity on the way from `start` to `end`."""
        raise NotImplementedError

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
            path: self.sparsity_between(
                self._start_sparsities.get(path, 0.0), end, progress
            )
            for path, end in self.distribution.items()
        }
