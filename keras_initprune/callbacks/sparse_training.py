"""What RigL and SET share: a sparse start, then drop and grow at constant sparsity."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initprune import constraints, validation
from keras_initprune.callbacks.base import check_epochs, check_finite, resolve_seed
from keras_initprune.callbacks.schedule import State
from keras_initprune.callbacks.scheduled import ScheduledPruning
from keras_initprune.distributions import Distribution, allocate, check_distribution
from keras_initprune.masks import Mask, candidate_key, random_mask
from keras_initprune.prunable import LayerSelector
from keras_initprune.rewiring import drop_and_grow
from keras_initprune.schedules import cosine_fraction


class SparseTraining(ScheduledPruning):
    """Base of dynamic sparse training; subclasses override `growth_scores`.

    Args:
        sparsity: See `RigL`.
        epochs: See `RigL`.
        interval: See `RigL`.
        fraction: See `RigL`.
        distribution: See `RigL`.
        seed: See `RigL`.
        verbose: See `RigL`.
        layers: See `RigL`.
        skip_output: See `RigL`.
        embeddings: See `RigL`.
    """

    def __init__(
        self,
        sparsity: float,
        epochs: int | float,
        interval: int | None,
        fraction: float,
        distribution: Distribution,
        seed: int | None,
        verbose: int,
        layers: LayerSelector,
        skip_output: bool,
        embeddings: bool,
    ) -> None:
        super().__init__(
            _check_phase(epochs), interval, verbose, layers, skip_output, embeddings
        )
        self.sparsity = validation.check_sparsity(sparsity)
        self.fraction = validation.check_fraction(fraction)
        self.distribution = check_distribution(distribution, ranked=False)
        self.seed = validation.check_seed(seed)

    def length_of_phase(self) -> int:
        """Return the phase's epochs, rounded down if they are a share of all."""
        if isinstance(self.epochs, Integral):
            return self.epochs
        return max(1, int(self.epochs * self.params["epochs"]))

    def begin_phase(self) -> None:
        """Draw the seed."""
        super().begin_phase()
        self._seed, self._replaced = resolve_seed(self.seed), 0

    def phase_state(self) -> State:
        """Return the seed and how much was rewired so far."""
        rewired = np.array((self._seed, self._replaced), np.int64)
        return {**super().phase_state(), "rewired": rewired}

    def resume_phase(self, state: State) -> None:
        """Go on with the same seed."""
        super().resume_phase(state)
        self._seed, self._replaced = map(int, state["rewired"])

    def start(self) -> None:
        """Keep random weights among those that are there."""
        self.check_reachable(self.sparsity)
        alive = self.masks()
        counts = allocate(
            {path: mask.shape for path, mask in alive.items()},
            self.sparsity,
            self.distribution,
            {path: int(np.count_nonzero(mask)) for path, mask in alive.items()},
        )
        masks = {
            path: random_mask(mask.shape, counts[path], self.key(path, 0), mask)
            for path, mask in alive.items()
        }
        message = self.apply_masks(masks)
        if self.verbose:
            print(f"{type(self).__name__} {message}")

    def change(self, progress: float) -> bool:
        """Drop the smallest weights of every tensor and grow as many."""
        weights, masks = self.values(), self.masks()
        check_finite(weights, "weights")
        if self.interval is None:
            # An epoch's change counts from its beginning, or the last would be none.
            progress -= 1 / self.phase_epochs
        share = cosine_fraction(self.fraction, progress)
        counts = {p: int(share * np.count_nonzero(mask)) for p, mask in masks.items()}
        if not any(counts.values()):
            return True
        growth = self.growth_scores(masks)
        if growth is None:
            return False
        rewired = {
            path: drop_and_grow(weights[path], growth[path], mask, counts[path])
            for path, mask in masks.items()
        }
        constraints.set_masks(self.model, rewired)
        self._replaced += sum(
            int(np.count_nonzero(rewired[path] & ~mask)) for path, mask in masks.items()
        )
        return True

    def end_phase_epoch(self, phase_epoch: int) -> str:
        """Check once per epoch, as it takes longer than a change, that paths remain."""
        message = super().end_phase_epoch(phase_epoch)
        self.check_masks(self.masks())
        return message

    def growth_scores(self, masks: Mapping[str, Mask]) -> dict[str, NDArray] | None:
        """Return by what removed weights compete to grow, or None if not known yet."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return how much was rewired so far."""
        return (
            f"rewired {self._changes} times, {self._replaced:,} weights in all "
            f"(sparsity {self.sparsity_of_masks():.4f})"
        )

    def key(self, path: str, index: int) -> int:
        """Return the key of a tensor's random numbers before change `index`."""
        return candidate_key(self._seed, self._weights[path].key, index)


def _check_phase(epochs: Any) -> int | float:
    if isinstance(epochs, float):
        if not 0 < epochs < 1:
            raise ValueError(
                "`epochs` must be a number of epochs or a share of the epochs of "
                f"`fit`, in (0, 1). Received: epochs={epochs!r}"
            )
        return epochs
    return check_epochs(epochs)
