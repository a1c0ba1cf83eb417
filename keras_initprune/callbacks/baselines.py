"""What methods are compared with: random weights go, or the smallest ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.arrays.curves import cubic_sparsity
from keras_initprune.arrays.distributions import Distribution, check_distribution
from keras_initprune.arrays.ranking import gradual_masks
from keras_initprune.arrays.selection import random_masks
from keras_initprune.callbacks.checks import (
    Interval,
    check_phase,
    check_scores,
    resolve_seed,
)
from keras_initprune.callbacks.phases import Masks, PruningCallback
from keras_initprune.criteria.weights import random_scores


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
            scores = random_scores(self._weights, seed)
            return self.best_masks(scores, self.sparsity, self.distribution, masks)
        return random_masks(masks, self.sparsity, self.distribution, seed, self.keys())


class Magnitude(PruningCallback):
    """Base of all that keep the largest weights: they differ in what else they do."""

    sparsity: float
    distribution: Distribution

    def __post_init__(self) -> None:
        super().__post_init__()
        self.epochs = check_phase(self.epochs)
        self.sparsity = validation.check_sparsity(self.sparsity)
        self.distribution = check_distribution(self.distribution, ranked=True)

    def largest(self, progress: float) -> Masks:
        """Return masks of the largest weights, as many as the cubic curve says."""
        alive = self.masks()
        scores: dict[str, NDArray] = {p: np.abs(w) for p, w in self.values().items()}
        return gradual_masks(
            check_scores(scores, alive, type(self).__name__),
            alive,
            self.start_sparsities,
            self.sparsity,
            progress,
            cubic_sparsity,
            self.distribution,
            self.best_masks,
        )


@dataclass(eq=False, repr=False)
class GradualMagnitude(Magnitude):
    """Removes the smallest weights while the network trains, on a cubic schedule.

    With the sparsity s0 of the model when the phase begins, the sparsity at progress t,
    from 0 to 1, is `sparsity + (s0 - sparsity) * (1 - t) ** 3`, and exactly `sparsity`
    when the phase ends. What has been removed stays removed.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1).
        epochs: Length of the phase: a number of epochs, or a share of the epochs of
            `fit`, which is rounded down. Defaults to 0.5.
        interval: Steps between two removals, or None for the ends of epochs. Defaults
            to `"auto"`: ten removals in every epoch, the last one at its end, or only
            that one where Keras does not know how many steps an epoch has. With
            `steps_per_execution` in `compile` Keras only comes back after so many
            steps, and a removal waits until then.
        distribution: How weights compete: all with each other (`"global"`) or within
            the share of their tensor (`"erk"`, `"uniform"` or a dictionary from tensor
            path to sparsity). Defaults to `"erk"`.
        pattern: `"units"` to remove whole units and filters, which `compact` then takes
            out; the output layer and biases stay, see `graphs.units.unit_ties`. The
            sparsity is that of the other layers, as close as units allow. Defaults to
            None: any weights.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, `interval` is a number and Keras does not know how many steps an
            epoch has, or a tensor or every path through the network would vanish.
        FloatingPointError: If the loss or a weight becomes NaN or infinite during the
            phase.

    References:
        - Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of
          pruning for model compression" (arXiv 1710.01878), equation 1

    Example:
        >>> GradualMagnitude(sparsity=0.95, epochs=4, interval=100).distribution
        'erk'
    """

    sparsity: float
    epochs: int | float = 0.5
    interval: Interval = "auto"
    distribution: Distribution = "erk"
    pattern: str | None = None

    def select(self, progress: float) -> Masks:
        """Keep the largest weights, on the cubic curve."""
        return self.largest(progress)


@dataclass(eq=False, repr=False)
class OneShotMagnitude(Magnitude):
    """Trains densely for the first epochs, then removes the smallest weights at once.

    K-starts with recombination tends to it as k grows, so the comparison says what
    random starts are worth.

    Args:
        sparsity: Fraction of weights to remove, in [0, 1).
        epochs: Epochs after which the weights are removed, or a share of the epochs of
            `fit`, which is rounded down. Defaults to 2.
        distribution: How weights compete: all with each other (`"global"`) or within
            the share of their tensor (`"erk"`, `"uniform"` or a dictionary from tensor
            path to sparsity). Defaults to `"erk"`.
        pattern: `"units"` to remove whole units and filters, which `compact` then takes
            out; the output layer and biases stay, see `graphs.units.unit_ties`. The
            sparsity is that of the other layers, as close as units allow. Defaults to
            None: any weights.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, or a tensor or every path through the network would vanish.
        FloatingPointError: If the loss or a weight becomes NaN or infinite before
            weights are removed.

    References:
        - Han et al. 2015, "Learning both weights and connections for efficient neural
          networks" (arXiv 1506.02626)

    Example:
        >>> OneShotMagnitude(sparsity=0.95, epochs=2).distribution
        'erk'
    """

    sparsity: float
    epochs: int | float = 2
    distribution: Distribution = "erk"
    pattern: str | None = None

    def select(self, progress: float) -> Masks | None:
        """Keep the largest weights once the last epoch of the phase has ended."""
        return self.largest(progress) if progress == 1 else None

    def describe(self, phase_epoch: int) -> str:
        """Return that it waits, or what was removed."""
        if phase_epoch < self.phase_epochs:
            return f"waits ({phase_epoch} of {self.phase_epochs} epochs)"
        return super().describe(phase_epoch)
