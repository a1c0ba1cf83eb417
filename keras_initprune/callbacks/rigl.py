"""RigL: weights are dropped by magnitude and grown by gradient."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.callbacks.base import check_finite
from keras_initprune.callbacks.schedule import State
from keras_initprune.callbacks.sparse_training import SparseTraining
from keras_initprune.dense_gradients import DenseGradients
from keras_initprune.distributions import Distribution
from keras_initprune.masks import Mask
from keras_initprune.prunable import LayerSelector


class RigL(SparseTraining):
    """Trains a network that is sparse from the first step, and rewires it on the way.

    It starts from a random mask. Every `interval` steps each tensor of n kept weights
    drops the `int(share * n)` smallest and grows as many among the others, where the
    gradient |dL/dw| is largest. The share falls from `fraction` to 0 along a cosine:
    `fraction / 2 * (1 + cos(pi * t / T))` at step t of the T steps of the phase; then
    the mask stays. The number of weights that a tensor keeps never changes. What grows
    begins at zero, and so do its optimizer slots; a weight that wins its place back at
    once keeps its value.

    The gradient is that of the last step before the change, over its whole batch, also
    where the loss is scaled or several replicas share the batch. All other steps cost
    what they cost without it. With `steps_per_execution` in `compile` Keras only comes
    back after so many steps, and a change waits until then.

    After other pruning callbacks, or on a model that is sparse already (by SNIP, say),
    it starts from random weights among those that are there: all of them if the
    sparsity is reached.

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
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `prunable_weights`. Defaults to all.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, the data does not tell its length, or a tensor or every path
            through the network would vanish.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            during the phase.

    References:
        - Evci et al. 2020, "Rigging the lottery: making all tickets winners" (arXiv
          1911.11134), algorithm 1

    Example:
        >>> RigL(sparsity=0.95, seed=0).interval
        100
    """

    def __init__(
        self,
        sparsity: float,
        epochs: int | float = 0.75,
        interval: int = 100,
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
            validation.check_positive_integer(interval, "interval"),
            fraction,
            distribution,
            seed,
            verbose,
            layers,
            skip_output,
            embeddings,
        )

    def begin_phase(self) -> None:
        """Prepare to see gradients."""
        super().begin_phase()
        self._watch()

    def phase_state(self) -> State:
        """Return the gradient too if the next step begins with a change."""
        return {**super().phase_state(), "gradients": self._gradients.latest() or {}}

    def resume_phase(self, state: State) -> None:
        """Prepare to see gradients again."""
        super().resume_phase(state)
        self._watch()
        if "gradients" in state:
            self._gradients.restore(state["gradients"])

    def prepare(self) -> None:
        """Have the gradient of the coming step kept."""
        self._gradients.arm()

    def growth_scores(self, masks: Mapping[str, Mask]) -> dict[str, NDArray] | None:
        """Return |dL/dw| of the last step."""
        gradients = self._gradients.latest()
        if gradients is None:
            return None
        check_finite(gradients, "gradient")
        self._gradients.disarm()
        return {path: np.abs(gradient) for path, gradient in gradients.items()}

    def end_phase(self) -> None:
        """Free the gradients."""
        self._gradients.stop()

    def _watch(self) -> None:
        self._gradients = DenseGradients(self.model, self._weights)
        self._gradients.start()
