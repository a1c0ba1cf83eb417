"""Dissipating gradients: weights that stay where they began are eliminated."""

from collections.abc import Mapping

import numpy as np

from keras_initprune import validation
from keras_initprune.callbacks.base import PruningCallback, check_epochs, check_finite
from keras_initprune.callbacks.schedule import State
from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.distributions import Distribution, check_distribution
from keras_initprune.gradients import GradientRecorder
from keras_initprune.masks import Mask
from keras_initprune.prunable import LayerSelector
from keras_initprune.ranking import rank_masks


class DissipatingGradients(PruningCallback):
    """Eliminates, in the first epochs, the weights that hardly leave initialisation.

    At the end of each of `epochs` epochs the survivors that moved least since training
    began are removed. With `sparsity`, density falls geometrically from its value d at
    the start of the phase: after epoch e of E it is `d * ((1 - sparsity) / d) ** (e /
    E)`. With `fraction`, everything that remains within that fraction of its initial
    value goes, and the sparsity is an outcome.

    After `KStarts` in one list its epochs follow those of K-starts, and movement still
    counts from the initial weights. Decoupled weight decay is no movement: weights are
    compared with where decay alone would have brought them.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1). Exactly
            one of `sparsity` and `fraction` must be given.
        fraction: Weights whose score stays at or below it are removed, in (0, 1].
        epochs: Epochs at whose ends weights are removed. Defaults to 4.
        criterion: What counts as movement: `"movement"` (|w - w0|; as a fraction: of
            the root mean square of all initial weights), `"relative"` (|w - w0| /
            |w0|), `"standardised"` (|w - w0| / std(w0) of the tensor) or `"gradient"`
            (the accumulated |dL/dw|; as a fraction: of its mean). Defaults to None:
            `"movement"` with `sparsity` and `"relative"` with `fraction`.
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
    _start_sparsities: dict[str, float]

    def __init__(
        self,
        sparsity: float | None = None,
        fraction: float | None = None,
        epochs: int = 4,
        criterion: str | None = None,
        distribution: Distribution | None = None,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(check_epochs(epochs), verbose, layers, skip_output, embeddings)
        if (sparsity is None) == (fraction is None):
            raise ValueError(
                "Exactly one of `sparsity` and `fraction` must be given. "
                f"Received: sparsity={sparsity!r}, fraction={fraction!r}"
            )
        if fraction is None:
            validation.check_sparsity(sparsity)
        else:
            validation.check_fraction(fraction)
        self.sparsity = sparsity
        self.fraction = fraction
        default = "movement" if fraction is None else "relative"
        self.criterion = validation.check_choice(
            default if criterion is None else criterion, "criterion", DISSIPATION
        )
        if fraction is not None and distribution is not None:
            raise ValueError(
                "`distribution` says how weights compete for a given `sparsity`; with "
                "`fraction` every weight is judged by itself. "
                f"Received: distribution={distribution!r}, fraction={fraction!r}"
            )
        self.distribution = check_distribution(
            "erk" if distribution is None else distribution, ranked=True
        )

    def begin_phase(self) -> None:
        """Remember where the weights begin."""
        self._follow(self.values())

    def phase_state(self) -> State:
        """Return where weights and sparsities began, and the gathered gradients."""
        starts = {p: np.array(s) for p, s in self._start_sparsities.items()}
        return {
            "initial": self._initial,
            "start_sparsities": starts,
            **self._recorder.state(),
        }

    def resume_phase(self, state: State) -> None:
        """Go on from the same initial weights."""
        self._follow(state["initial"])
        self._recorder.restore(state)
        starts = state.get("start_sparsities", {})
        self._start_sparsities = {path: float(s) for path, s in starts.items()}

    def end_phase_epoch(self, phase_epoch: int) -> str:
        """Remove the weights that moved least."""
        alive, scores = self.masks(), self._scores()
        if self.sparsity is None:
            within = {path: score <= self.fraction for path, score in scores.items()}
            return self.apply_masks({p: alive[p] & ~within[p] for p in alive})
        if phase_epoch == 1:
            self._begin_schedule(self.sparsity, alive)
        progress = phase_epoch / self.epochs
        sparsity = _between(self._start_sparsity(), self.sparsity, progress)
        distribution = self._scheduled_distribution(progress)
        return self.apply_masks(rank_masks(scores, sparsity, distribution, alive))

    def end_phase(self) -> None:
        """Free the initial weights and what was gathered."""
        self._recorder.stop()
        self._initial = {}

    def _scores(self) -> dict[str, np.ndarray]:
        weights = self.values()
        gradients = self._recorder.totals()
        check_finite(weights, "weights")
        check_finite(gradients, "gradient")
        initial = {p: w0 * self._recorder.decay(p) for p, w0 in self._initial.items()}
        return DISSIPATION[self.criterion](weights, initial, gradients)

    def _begin_schedule(self, target: float, alive: Mapping[str, Mask]) -> None:
        self._start_sparsities = {path: 1.0 - m.mean() for path, m in alive.items()}
        start = self._start_sparsity()
        if target < start:
            raise ValueError(
                "`sparsity` must not lie below that of the model when dissipating "
                f"begins, which is {start:.4f}. Received: sparsity={target}"
            )

    def _start_sparsity(self) -> float:
        removed = [
            self._weights[path].size * sparsity
            for path, sparsity in self._start_sparsities.items()
        ]
        return sum(removed) / self.size()

    def _follow(self, initial: Mapping[str, np.ndarray]) -> None:
        self._initial = initial
        self._start_sparsities = {}
        self._recorder = GradientRecorder(
            self.model, self._weights, gradients=self.criterion == "gradient"
        )
        self._recorder.start()

    def _scheduled_distribution(self, progress: float) -> Distribution:
        if isinstance(self.distribution, str):
            return self.distribution
        return {
            path: _between(self._start_sparsities.get(path, 0.0), end, progress)
            for path, end in self.distribution.items()
        }


def _between(start: float, end: float, progress: float) -> float:
    """Return the sparsity on the way from `start` to `end`, geometric in density."""
    return 1.0 - (1.0 - start) ** (1.0 - progress) * (1.0 - end) ** progress
