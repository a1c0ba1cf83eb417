"""Drop and grow: RigL and SET at constant sparsity, GraNet while it prunes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.arrays.curves import FRACTIONS, cosine_fraction
from keras_initprune.arrays.curves import Schedule as Curve
from keras_initprune.arrays.distributions import Distribution, check_distribution
from keras_initprune.arrays.drop_and_grow import drop_and_grow
from keras_initprune.arrays.selection import random_masks
from keras_initprune.callbacks.baselines import Magnitude
from keras_initprune.callbacks.checks import (
    Interval,
    check_finite,
    check_phase,
    resolve_seed,
)
from keras_initprune.callbacks.phases import Masks, PruningCallback
from keras_initprune.callbacks.saved_state import State
from keras_initprune.criteria.weights import random_scores
from keras_initprune.gradients import DenseGradients


class SeesGradients(PruningCallback):
    """Base of methods that need the dense gradient of the step before a change."""

    def begin(self, state: State) -> None:
        """Prepare to see gradients."""
        super().begin(state)
        self._gradients = DenseGradients(self.model, self._weights)
        self._gradients.start(state.get("gradients"))
        if self._every is None:
            self._gradients.arm()

    def prepare(self) -> None:
        """Have the gradient of the coming step kept."""
        self._gradients.arm()

    def gradient_magnitudes(self) -> dict[str, NDArray] | None:
        """Return |dL/dw| of the last step, or None if it is not known yet."""
        self._gradients.check_seen()
        gradients = self._gradients.latest()
        if gradients is None:
            return None
        if self._every is not None:
            self._gradients.disarm()
        check_finite(gradients, "gradient")
        return {path: np.abs(gradient) for path, gradient in gradients.items()}

    def gathered(self) -> State:
        """Return the gradient too if the next step begins with a change."""
        return {**super().gathered(), "gradients": self._gradients.latest() or {}}

    def end(self) -> None:
        """Free the gradients."""
        self._gradients.stop()


@dataclass(eq=False, repr=False)
class _SparseTraining(PruningCallback):
    """Base of RigL and SET: they differ in `interval` and in `growth_scores`."""

    sparsity: float
    epochs: int | float = 0.75
    interval: int | None = None
    fraction: float = 0.3
    distribution: Distribution = "erk"
    seed: int | None = None
    schedule: str | Curve = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sparsity = validation.check_sparsity(self.sparsity)
        self.epochs = check_phase(self.epochs)
        self._curve = validation.check_function(self.schedule, "schedule", FRACTIONS)
        self.fraction = validation.check_fraction(self.fraction)
        self.distribution = check_distribution(self.distribution, ranked=False)
        self.seed = validation.check_seed(self.seed)

    def begin(self, state: State) -> None:
        """Draw the seed."""
        fresh = (resolve_seed(self.seed), 0) if not state else state["rewired"]
        self._seed, self._replaced = map(int, fresh)

    def start(self) -> Masks:
        """Keep random weights among those that are there."""
        super().start()
        return random_masks(
            self.masks(), self.sparsity, self.distribution, self._seed, self.keys()
        )

    def select(self, progress: float) -> Masks | None:
        """Drop the smallest weights of every tensor and grow as many."""
        weights, masks = self.values(), self.masks()
        if self.interval is None:
            # An epoch's change counts from its beginning, or the last would be none.
            progress -= 1 / self.phase_epochs
        share = validation.check_share(
            self._curve(self.fraction, progress), "the result of `schedule`"
        )
        counts = {p: int(share * np.count_nonzero(mask)) for p, mask in masks.items()}
        growth = self.growth_scores(masks) if any(counts.values()) else {}
        if not growth:
            return growth
        rewired = {
            path: drop_and_grow(weights[path], growth[path], mask, counts[path])
            for path, mask in masks.items()
        }
        self._replaced += sum(
            int(np.count_nonzero(rewired[path] & ~mask)) for path, mask in masks.items()
        )
        return rewired

    def growth_scores(self, masks: Masks) -> dict[str, NDArray] | None:
        """Return by what removed weights compete to grow, or None if not known yet."""
        raise NotImplementedError

    def describe(self, phase_epoch: int) -> str:
        """Return how much was rewired so far."""
        return (
            f"rewired {self._changes} times, {self._replaced:,} weights in all "
            f"(sparsity {self.sparsity_of_masks():.4f})"
        )

    def gathered(self) -> State:
        """Return the seed and how much was rewired so far."""
        return {"rewired": np.array((self._seed, self._replaced), np.int64)}


@dataclass(eq=False, repr=False)
class RigL(SeesGradients, _SparseTraining):
    """Trains a network that is sparse from the first step, and rewires it on the way.

    It starts from a random mask. Every `interval` steps each tensor of n kept weights
    drops the `int(share * n)` smallest and grows as many among the others, where the
    gradient |dL/dw| is largest. The share falls from `fraction` to 0, by default along
    a cosine: `fraction / 2 * (1 + cos(pi * t / T))` at step t of the T steps of the
    phase; then the mask stays. The number of weights that a tensor keeps never changes.
    What grows begins at zero, and so do its optimizer slots; a weight that wins its
    place back at once keeps its value.

    The gradient is that of the last step before the change, over its whole batch, also
    where the loss is scaled or several replicas share the batch. All other steps cost
    what they cost without RigL. With `steps_per_execution` in `compile` Keras only
    comes back after so many steps, and a change waits until then.

    After other pruning callbacks, or on a model that is sparse already (by SNIP, say),
    it starts from random weights among those that are kept: from all of them if the
    model has that sparsity already.

    Args:
        sparsity: Fraction of weights that is removed at every moment, in [0, 1).
        epochs: Length of the phase: a number of epochs, or a share of the epochs of
            `fit`, which is rounded down. Defaults to 0.75.
        interval: Steps between two changes. Defaults to 100.
        fraction: Share of the kept weights that the first change would replace at step
            0, in (0, 1]. Defaults to 0.3.
        distribution: How many weights every tensor keeps: `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity. Defaults to `"erk"`.
        seed: Seed of the first mask. Defaults to None: drawn from Python's generator,
            which `keras.utils.set_random_seed` seeds.
        schedule: How the share of replaced weights falls: `"cosine"`, `"constant"`,
            `"linear"`, `"cubic"` (which RigL's program calls exponential), or a
            function of the share at step 0 and the progress from 0 to 1. Defaults to
            `"cosine"`.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, Keras does not know how many steps an epoch has, a tensor or every
            path through the network would vanish, or the model's optimizer was given no
            gradient.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            during the phase.

    References:
        - Evci et al. 2020, "Rigging the lottery: making all tickets winners" (arXiv
          1911.11134), algorithm 1

    Example:
        >>> RigL(sparsity=0.95, seed=0).interval
        100
    """

    interval: int = 100

    def __post_init__(self) -> None:
        validation.check_positive_integer(self.interval, "interval")
        super().__post_init__()

    def growth_scores(self, masks: Masks) -> dict[str, NDArray] | None:
        """Return |dL/dw| of the last step."""
        return self.gradient_magnitudes()


@dataclass(eq=False, repr=False)
class SET(_SparseTraining):
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
        interval: Steps between two changes. Defaults to None: a change at the end of
            every epoch of the phase; its t is the step at which that epoch began.
        fraction: Share of the kept weights that a change at step 0 would replace, in
            (0, 1]. Defaults to 0.3.
        distribution: How many weights every tensor keeps: `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity. Defaults to `"erk"`.
        seed: Seed of the first mask and of what grows. Defaults to None: drawn from
            Python's generator, which `keras.utils.set_random_seed` seeds.
        schedule: How the share of replaced weights falls: `"cosine"`, `"constant"`,
            `"linear"`, `"cubic"` (which RigL's program calls exponential), or a
            function of the share at step 0 and the progress from 0 to 1. Defaults to
            `"cosine"`.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, `interval` is a number and Keras does not know how many steps an
            epoch has, or a tensor or every path through the network would vanish.
        FloatingPointError: If the loss or a weight becomes NaN or infinite during the
            phase.

    References:
        - Mocanu et al. 2018, "Scalable training of artificial neural networks with
          adaptive sparse connectivity" (arXiv 1707.04780), algorithm 1

    Example:
        >>> SET(sparsity=0.95, seed=0).fraction
        0.3
    """

    def growth_scores(self, masks: Masks) -> dict[str, NDArray]:
        """Return a random score for every weight."""
        # The first mask took the draws of index 0.
        return random_scores(self._weights, self._seed, index=self._changes + 1)


@dataclass(eq=False, repr=False)
class GraNet(SeesGradients, Magnitude):
    """Removes the smallest weights gradually, and regrows where the gradient is large.

    A change at progress t, from 0 to 1, first keeps the largest weights, as
    `GradualMagnitude` does on the same cubic curve. Then each tensor of n kept weights
    drops the `int(share * n)` smallest and grows as many among the others, where the
    gradient |dL/dw| of the last step is largest, as `RigL` does; the share is
    `fraction / 2 * (1 + cos(pi * t))`, 0 at the end. What grows begins at zero, and so
    do its optimizer slots.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1).
        epochs: Length of the phase: a number of epochs, or a share of the epochs of
            `fit`, which is rounded down. Defaults to 0.5.
        interval: Steps between two changes, None for the ends of epochs, or `"auto"`:
            ten in every epoch. Defaults to `"auto"`; see `GradualMagnitude`.
        fraction: Share of the kept weights that would be replaced at progress 0, in
            (0, 1]. Defaults to 0.5.
        distribution: How weights compete: all with each other (`"global"`) or within
            the share of their tensor (`"erk"`, `"uniform"` or a dictionary from tensor
            path to sparsity). Defaults to `"erk"`.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, `interval` is a number and Keras does not know how many steps an
            epoch has, a tensor or every path through the network would vanish, or the
            model's optimizer was given no gradient.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            during the phase.

    References:
        - Liu et al. 2021, "Sparse training via boosting pruning plasticity with
          neuroregeneration" (arXiv 2106.10404), algorithm 1

    Example:
        >>> GraNet(sparsity=0.95, epochs=4).fraction
        0.5
    """

    sparsity: float
    epochs: int | float = 0.5
    interval: Interval = "auto"
    fraction: float = 0.5
    distribution: Distribution = "erk"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fraction = validation.check_fraction(self.fraction)

    def select(self, progress: float) -> Masks | None:
        """Keep the largest weights, and replace the smallest of them."""
        growth = self.gradient_magnitudes() if progress < 1 else {}
        if growth is None:
            return None
        masks, weights = self.largest(progress), self.values()
        share = cosine_fraction(self.fraction, progress)
        counts = {path: int(share * np.count_nonzero(m)) for path, m in masks.items()}
        return masks | {
            path: drop_and_grow(weights[path], scores, masks[path], counts[path])
            for path, scores in growth.items()
        }
