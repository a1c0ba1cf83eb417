"""Dissipating gradients: weights that stay where they began are eliminated."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.callbacks.base import check_finite
from keras_initprune.callbacks.gradual import GradualPruning
from keras_initprune.callbacks.schedule import State
from keras_initprune.callbacks.scheduled import Interval
from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.distributions import Distribution
from keras_initprune.gradients import GradientRecorder
from keras_initprune.prunable import LayerSelector
from keras_initprune.schedules import geometric_sparsity


class DissipatingGradients(GradualPruning):
    """Eliminates, in the first epochs, the weights that hardly leave initialisation.

    Within `epochs` epochs the survivors that moved least since training began are
    removed, a few at a time. With `sparsity`, density falls geometrically from its
    value d at the start of the phase: after e of E epochs it is `d * ((1 - sparsity) /
    d) ** (e / E)`. With `fraction`, everything that remains within that fraction of its
    initial value when an epoch ends goes, and the sparsity is an outcome.

    After `KStarts` in one list its epochs follow those of K-starts, and movement still
    counts from the initial weights. Decoupled weight decay is no movement: weights are
    compared with where decay alone would have brought them.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1). Exactly
            one of `sparsity` and `fraction` must be given.
        fraction: Weights whose score stays at or below it are removed, in (0, 1].
        epochs: Epochs in which weights are removed. Defaults to 6.
        criterion: What counts as movement: `"movement"` (|w - w0|; as a fraction: of
            the root mean square of all initial weights), `"relative"` (|w - w0| /
            |w0|), `"standardised"` (|w - w0| / std(w0) of the tensor) or `"gradient"`
            (the accumulated |dL/dw|; as a fraction: of its mean). Defaults to None:
            `"movement"` with `sparsity` and `"relative"` with `fraction`.
        interval: Steps between two removals, or None for the ends of epochs. Defaults
            to `"auto"`: with `sparsity` ten removals in every epoch, the last one at
            its end, or only that one where Keras does not know how many steps an epoch
            has; with `fraction` the ends of epochs, and nothing else is valid. With
            `steps_per_execution` in `compile` Keras only comes back after so many
            steps, and a removal waits until then.
        distribution: How weights compete for `sparsity`: within the share of their
            tensor (`"erk"`, `"uniform"` or a dictionary from tensor path to sparsity)
            or all with each other (`"global"`). Defaults to None: `"erk"`. With
            `fraction` weights do not compete, and it must be None.
        verbose: 0, or 1 for a line per epoch. Defaults to 0.
        layers: Which weights to prune, see `prunable_weights`. Defaults to all.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, or a tensor or every path through the network would vanish.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            during the phase.

    References:
        - "What to prune and what not to prune at initialization" (arXiv 2209.02201)

    Example:
        >>> DissipatingGradients(sparsity=0.95, epochs=4).criterion
        'movement'
        >>> DissipatingGradients(fraction=0.2, epochs=2).criterion
        'relative'
    """

    _recorder: GradientRecorder
    _initial: Mapping[str, np.ndarray]

    def __init__(
        self,
        sparsity: float | None = None,
        fraction: float | None = None,
        epochs: int = 6,
        criterion: str | None = None,
        interval: Interval = "auto",
        distribution: Distribution | None = None,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        if (sparsity is None) == (fraction is None):
            raise ValueError(
                "Exactly one of `sparsity` and `fraction` must be given. "
                f"Received: sparsity={sparsity!r}, fraction={fraction!r}"
            )
        if fraction is None:
            validation.check_sparsity(sparsity)
        else:
            validation.check_fraction(fraction)
        super().__init__(
            sparsity,
            epochs,
            interval,
            "erk" if distribution is None else distribution,
            verbose,
            layers,
            skip_output,
            embeddings,
        )
        self.fraction = fraction
        default = "movement" if fraction is None else "relative"
        self.criterion = validation.check_choice(
            default if criterion is None else criterion, "criterion", DISSIPATION
        )
        if fraction is not None and isinstance(self.interval, int):
            raise ValueError(
                "`interval` says how often weights are removed on the way to a given "
                "`sparsity`; with `fraction` they need an epoch to leave their initial "
                f"value. Received: interval={interval!r}, fraction={fraction!r}"
            )
        if fraction is not None and distribution is not None:
            raise ValueError(
                "`distribution` says how weights compete for a given `sparsity`; with "
                "`fraction` every weight is judged by itself. "
                f"Received: distribution={distribution!r}, fraction={fraction!r}"
            )

    def interval_in_steps(self) -> int | Fraction | None:
        """Return the steps between two removals; None with `fraction`."""
        return None if self.sparsity is None else super().interval_in_steps()

    def begin_phase(self) -> None:
        """Remember where the weights begin."""
        super().begin_phase()
        self._follow(self.values())

    def phase_state(self) -> State:
        """Return where the weights began, and the gathered gradients."""
        state = {"initial": self._initial, **self._recorder.state()}
        return {**super().phase_state(), **state}

    def resume_phase(self, state: State) -> None:
        """Go on from the same initial weights."""
        super().resume_phase(state)
        self._follow(state["initial"])
        self._recorder.restore(state)

    def change(self, progress: float) -> bool:
        """Remove the weights that moved least."""
        if self.fraction is None:
            return super().change(progress)
        alive, scores = self.masks(), self.scores()
        self.apply_masks({p: alive[p] & (scores[p] > self.fraction) for p in alive})
        return True

    def end_phase(self) -> None:
        """Free the initial weights and what was gathered."""
        self._recorder.stop()
        self._initial = {}

    def scores(self) -> dict[str, NDArray]:
        """Return how far the weights moved."""
        weights = self.values()
        gradients = self._recorder.totals()
        check_finite(weights, "weights")
        check_finite(gradients, "gradient")
        initial = {p: w0 * self._recorder.decay(p) for p, w0 in self._initial.items()}
        return DISSIPATION[self.criterion](weights, initial, gradients)

    def sparsity_between(self, start: float, end: float, progress: float) -> float:
        """Return the sparsity, geometric in density."""
        return geometric_sparsity(start, end, progress)

    def _follow(self, initial: Mapping[str, np.ndarray]) -> None:
        self._initial = initial
        self._recorder = GradientRecorder(
            self.model, self._weights, gradients=self.criterion == "gradient"
        )
        self._recorder.start()
