"""Dissipating gradients: weights that stay where they began are eliminated."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.arrays.curves import geometric_sparsity
from keras_initprune.arrays.distributions import Distribution, check_distribution
from keras_initprune.arrays.ranking import gradual_masks
from keras_initprune.callbacks.checks import Interval, check_phase, check_scores
from keras_initprune.callbacks.phases import Masks, PruningCallback
from keras_initprune.callbacks.saved_state import State
from keras_initprune.criteria.dissipation import (
    DISSIPATION,
    WITHOUT_GRADIENTS,
    Criterion,
    CriterionName,
)
from keras_initprune.gradients import GradientRecorder


@dataclass(eq=False, repr=False)
class DissipatingGradients(PruningCallback):
    """Eliminates, in the first epochs, the weights that hardly leave initialisation.

    Within `epochs` epochs the survivors that moved least since training began are
    removed, a few at a time. With `sparsity`, density falls geometrically from its
    value d at the start of the phase: after e of E epochs it is `d * ((1 - sparsity) /
    d) ** (e / E)`. With `fraction`, every weight that lies within that fraction of its
    initial value when an epoch ends is removed, and the sparsity is an outcome.

    After `KStarts` in one list its epochs follow those of K-starts, and movement still
    counts from the initial weights. Decoupled weight decay does not count: weights are
    compared with where decay alone would have brought them.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1). Exactly
            one of `sparsity` and `fraction` must be given.
        fraction: Threshold in (0, 1]: weights whose score by `criterion` is at or below
            it are removed.
        epochs: Epochs in which weights are removed, or a share of the epochs of `fit`,
            which is rounded down. Defaults to 0.5.
        criterion: What counts as movement: `"movement"` (|w - w0|; `fraction` compares
            it over the root mean square of all initial weights), `"relative"` (|w - w0|
            / |w0|), `"standardised"` (|w - w0| / std(w0) of the tensor) or `"gradient"`
            (the accumulated |dL/dw|; `fraction` compares it over its mean), or a
            function as those in `criteria.dissipation`. Defaults to None: `"movement"`
            with `sparsity` and `"relative"` with `fraction`.
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
        pattern: `"units"` to remove whole units and filters, which `compact` then takes
            out; the output layer and biases stay, see `graphs.units.unit_ties`. The
            sparsity is that of the other layers, as close as units allow. Defaults to
            None: any weights.
        verbose: 0, or 1 for a line per epoch. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, a tensor or every path through the network would vanish, or
            gradients are needed and the model's optimizer was given none.
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

    sparsity: float | None = None
    fraction: float | None = None
    epochs: int | float = 0.5
    criterion: CriterionName | str | Criterion | None = None
    interval: Interval = "auto"
    distribution: Distribution | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        """Check the arguments, and resolve those that depend on others."""
        super().__post_init__()
        self.epochs = check_phase(self.epochs)
        if (self.sparsity is None) == (self.fraction is None):
            raise ValueError(
                "Exactly one of `sparsity` and `fraction` must be given. Received: "
                f"sparsity={self.sparsity!r}, fraction={self.fraction!r}"
            )
        if self.fraction is None:
            self._remove_down_to_a_sparsity()
        else:
            self._remove_up_to_a_threshold(self.fraction)
        self._score = validation.check_function(
            self.criterion, "criterion", DISSIPATION
        )

    def begin(self, state: State) -> None:
        """Remember where the weights begin."""
        self._initial: Mapping[str, np.ndarray] = (
            state["initial"] if state else self.values()
        )
        self._recorder = GradientRecorder(
            self.model, self._weights, self._score not in WITHOUT_GRADIENTS
        )
        self._recorder.start(state)

    def select(self, progress: float) -> Masks:
        """Keep the weights that moved most, or beyond the threshold."""
        alive = self.masks()
        scores = self._scores(alive)
        if self.fraction is not None:
            return {p: alive[p] & (scores[p] > self.fraction) for p in alive}
        return gradual_masks(
            scores,
            alive,
            self.start_sparsities,
            validation.check_sparsity(self.sparsity),
            progress,
            geometric_sparsity,
            self.distribution or "erk",
            self.best_masks,
        )

    def gathered(self) -> State:
        """Return where the weights began, and the gathered gradients."""
        return {"initial": self._initial, **self._recorder.state()}

    def end(self) -> None:
        """Free the initial weights and what was gathered."""
        self._recorder.stop()
        self._initial = {}

    def _scores(self, alive: Masks) -> dict[str, NDArray]:
        decayed = {p: self._recorder.decayed(p, w0) for p, w0 in self._initial.items()}
        scores = self._score(self.values(), decayed, self._recorder.totals())
        return check_scores(scores, alive, "criterion")

    def _remove_down_to_a_sparsity(self) -> None:
        self.sparsity = validation.check_sparsity(self.sparsity)
        self.criterion = "movement" if self.criterion is None else self.criterion
        self.distribution = check_distribution(
            "erk" if self.distribution is None else self.distribution, ranked=True
        )

    def _remove_up_to_a_threshold(self, fraction: float) -> None:
        self.fraction = validation.check_fraction(fraction)
        self.criterion = "relative" if self.criterion is None else self.criterion
        if isinstance(self.interval, int):
            raise ValueError(
                "`interval` says how often weights are removed on the way to a given "
                "`sparsity`; with `fraction` they need an epoch to leave their initial "
                f"value. Received: interval={self.interval!r}, fraction={fraction!r}"
            )
        if self.distribution is not None:
            raise ValueError(
                "`distribution` says how weights compete for a given `sparsity`; with "
                "`fraction` every weight is judged by itself. Received: "
                f"distribution={self.distribution!r}, fraction={fraction!r}"
            )
        if self.pattern is not None:
            raise ValueError(
                "`pattern` says what is removed on the way to a given `sparsity`; with "
                "`fraction` every weight is judged by itself. Received: "
                f"pattern={self.pattern!r}, fraction={fraction!r}"
            )
        self.interval = None
