"""The combination: K-starts restarts what dissipates."""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keras_initprune import validation
from keras_initprune.arrays.curves import power_for, power_sparsity
from keras_initprune.arrays.distributions import (
    Distribution,
    allocate,
    check_distribution,
)
from keras_initprune.arrays.drop_and_grow import agreement, dissipate_and_restart
from keras_initprune.arrays.masks import candidate_key
from keras_initprune.arrays.ranking import on_the_way, overall_sparsity
from keras_initprune.arrays.selection import random_masks
from keras_initprune.callbacks.checks import (
    Interval,
    check_finite,
    check_phase,
    check_scores,
    resolve_seed,
)
from keras_initprune.callbacks.phases import Masks, PruningCallback
from keras_initprune.callbacks.saved_state import State
from keras_initprune.gradients import GradientRecorder

# Chosen on validation images, see `docs/study/study.toml`. Restarts make the pull last
# longer, so what lasts once goes on: autoencoders pass the bound at once, perceptrons
# never do. A network that begins sparse has no more weights than it needs, of which
# many restarts would leave few in place. What starts again needs steps to show whether
# it moves, so a short phase has few restarts.
_RESTARTS_WHERE_IT_LASTS, _RESTARTS_ELSE, _RESTARTS_FROM_SPARSE = 1.0, 0.3, 0.5
_STEPS_OF_ALL_RESTARTS = 2400.0
_LASTING = 0.1  # Agreement of the gradients, see `agreement`.
_SPARSE = 0.5  # Sparsity at the start.


@dataclass(eq=False, repr=False)
class Combination(PruningCallback):
    """Removes what dissipates, and gives what was removed another start.

    Dissipating gradients says which weights go, K-starts says which of the removed ones
    start again. Masks change once per `interval`; at progress p, from 0 to 1:

    1. The density is `(1 - sparsity) ** (p ** curve)`. Of the n weights that a tensor
       keeps at it, `int(restarts * (1 - p) * n)` are fresh starts: none at the end.
    2. The rest of the n are the weights alive that moved most for their age: `|w -
       w_start| / a ** age`. A weight starts at its initial value, or at 0 if it was
       restarted, and a is the number of changes since it started.
    3. Among the weights that were removed before, k random masks are drawn, and the
       fittest of their union start again: by the magnitude of their pull, the
       gradient accumulated since the last change and `memory` times the pull before
       it, so that noise cancels and what is steady remains. They begin at 0, with
       fresh optimizer slots.

    With k = 1 weights restart at random, with a large k where the gradient says.
    Decoupled weight decay does not count as movement, see `DissipatingGradients`.
    Gradients are summed while the phase runs; neither memory nor time grows with k.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1). Defaults
            to 0.95.
        epochs: Epochs in which masks change, or a share of the epochs of `fit`, which
            is rounded down. Defaults to 0.5.
        k: Number of random masks. Defaults to 16.
        restarts: Share of fresh starts when the phase begins, in [0, 1]; it falls to 0
            along a line. Defaults to `"auto"`: 0.5 in a network of which half or more
            is removed when the phase begins. Elsewhere it asks at every change whether
            the pull on removed weights lasts: 1 where it points as it did before, and
            0.3 where it turns, as in networks that have what they need. In a phase of
            fewer than 2,400 steps it is at most steps / 2,400, but not below 0.3.
        age: The exponent of a weight's age, in [0, 1]: 0 compares distances, where
            fresh starts have no chance, and 1 compares distances per change. Defaults
            to 0.75.
        curve: How early weights go, in (0, 1]: 1 is geometric in density, less is
            earlier. Defaults to `"auto"`: 0.5 in a phase of 600 steps and more, 300 /
            steps in a shorter one, and 1 in one of up to 300.
        memory: Share of the pull before a change that still counts after it, in [0, 1].
            Defaults to 0.8.
        start_sparsity: Sparsity of a random mask to begin with, so that training is
            never denser: at most `sparsity`. Defaults to 0: it begins with the network
            as it is.
        interval: Steps between two changes, None for the ends of epochs, or `"auto"`:
            ten in every epoch, but none sooner than ten steps after another, for a
            fresh start needs steps to show whether it moves. Defaults to `"auto"`; see
            `DissipatingGradients`.
        distribution: How many weights every tensor keeps: `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity. Defaults to `"erk"`.
        seed: Seed of the random masks. Defaults to None: drawn from Python's generator,
            which `keras.utils.set_random_seed` seeds.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, a tensor or every path through the network would vanish, or the
            model's optimizer was given no gradient.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            during the phase.

    References:
        - "What to prune and what not to prune at initialization" (arXiv 2209.02201)

    Example:
        >>> Combination(sparsity=0.98, epochs=6, seed=0).k
        16
    """

    _fewest_steps = 10

    sparsity: float = 0.95
    epochs: int | float = 0.5
    k: int = 16
    restarts: float | Literal["auto"] = "auto"
    age: float = 0.75
    curve: float | Literal["auto"] = "auto"
    memory: float = 0.8
    start_sparsity: float = 0.0
    interval: Interval = "auto"
    distribution: Distribution = "erk"
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        self.sparsity = validation.check_sparsity(self.sparsity)
        self.epochs = check_phase(self.epochs)
        self.k = validation.check_positive_integer(self.k, "k")
        self.restarts = validation.check_unless_auto(
            self.restarts, "restarts", validation.check_share
        )
        self.age = validation.check_share(self.age, "age")
        self.curve = validation.check_unless_auto(
            self.curve, "curve", validation.check_fraction
        )
        self.memory = validation.check_share(self.memory, "memory")
        self.start_sparsity = validation.check_sparsity(
            self.start_sparsity, "start_sparsity"
        )
        if self.start_sparsity > self.sparsity:
            raise ValueError(
                "`start_sparsity` must not exceed `sparsity`. Received: "
                f"start_sparsity={self.start_sparsity}, sparsity={self.sparsity}"
            )
        self.distribution = check_distribution(self.distribution, ranked=False)
        self.seed = validation.check_seed(self.seed)

    def begin(self, state: State) -> None:
        """Remember where the weights start."""
        if not state:
            initial = self.values()
            born = {path: np.zeros(w.shape, np.int32) for path, w in initial.items()}
            pull = {path: np.zeros(w.shape, np.float32) for path, w in initial.items()}
            seed = resolve_seed(self.seed)
            state = {"drawn": (seed, 0), "initial": initial, "born": born, "pull": pull}
        self._seed, self._restarted = map(int, state["drawn"])
        self._initial: dict[str, np.ndarray] = state["initial"]
        self._born: dict[str, np.ndarray] = state["born"]
        self._pull: dict[str, np.ndarray] = state["pull"]
        self._decay = GradientRecorder(self.model, self._weights, gradients=False)
        self._decay.start({"decays": state.get("decays", {})})
        self._sums = self.record_pull()
        if self._has_started:
            self._sums.start({"gradients": state["gradients"]})

    def start(self) -> Masks | None:
        """Begin to sum gradients, and with a random mask if one is asked for."""
        super().start()
        self._sums.start()
        if self.sparsity_of_masks() >= self.start_sparsity:
            return None
        masks = random_masks(
            self.masks(),
            self.start_sparsity,
            self.distribution,
            self._seed,
            self.keys(),
        )
        self.start_sparsities = {p: 1.0 - mask.mean() for p, mask in masks.items()}
        return masks

    def select(self, progress: float) -> Masks:
        """Keep what moved most, and restart the fittest of what was removed."""
        alive = self.masks()
        counts = self._counts(alive, progress)
        scores = check_scores(self._movement(), alive, type(self).__name__)
        share = self._remember(alive) * (1.0 - progress)
        masks = {}
        for path, key in self.keys().items():
            survivors, restarted = dissipate_and_restart(
                scores[path],
                np.abs(self._pull[path]),
                alive[path],
                counts[path],
                int(share * counts[path]),
                self.k,
                candidate_key(self._seed, key, 1 + self._changes),
            )
            masks[path] = survivors | restarted
            self._initial[path][restarted] = 0.0
            self._born[path][restarted] = 1 + self._changes
            self._restarted += int(np.count_nonzero(restarted))
        return masks

    def record_pull(self) -> GradientRecorder:
        """Return what sums the gradients by which fresh starts compete."""
        return GradientRecorder(self.model, self._weights, magnitudes=False)

    def describe(self, phase_epoch: int) -> str:
        """Return what was removed, and how many weights have started again so far."""
        return f"{super().describe(phase_epoch)}, {self._restarted:,} restarts so far"

    def gathered(self) -> State:
        """Return where and when the weights started, and the sums of gradients."""
        return {
            "drawn": np.array((self._seed, self._restarted), np.int64),
            "initial": self._initial,
            "born": self._born,
            "pull": self._pull,
            "decays": self._decay.state()["decays"],
            "gradients": self._sums.state()["gradients"],
        }

    def end(self) -> None:
        """Free what was gathered."""
        self._decay.stop()
        self._sums.stop()
        self._initial, self._born, self._pull = {}, {}, {}

    def _remember(self, alive: Masks) -> float:
        """Take in the gradients since the last change; return the share of restarts."""
        gathered = check_finite(self._sums.totals(), "gradient")
        self._sums.reset()
        share = self.restarts
        if share == "auto":
            share = self._share_of_restarts(alive, gathered)
        for path, pull in self._pull.items():
            pull *= self.memory
            pull += gathered[path]
        return share

    def _share_of_restarts(
        self, alive: Masks, gathered: dict[str, np.ndarray]
    ) -> float:
        sizes = {path: mask.size for path, mask in alive.items()}
        if overall_sparsity(sizes, self.start_sparsities) >= _SPARSE:
            share = _RESTARTS_FROM_SPARSE
        else:
            removed = {path: ~mask for path, mask in alive.items()}
            if agreement(self._pull, gathered, removed) <= _LASTING:
                return _RESTARTS_ELSE
            share = _RESTARTS_WHERE_IT_LASTS
        return min(share, max(_RESTARTS_ELSE, self._steps / _STEPS_OF_ALL_RESTARTS))

    def _movement(self) -> dict[str, np.ndarray]:
        """Return how far weights moved, for their age."""
        # By the change at which a weight started: what is oldest counts least.
        ages = np.arange(1 + self._changes, 0, -1, dtype=np.float32)
        worth = ages**-self.age
        scores = self.values()
        for path, moved in scores.items():  # In place: new arrays take longer to get.
            moved -= self._decay.decayed(path, self._initial[path])
            np.abs(moved, out=moved)
            moved *= worth.take(self._born[path])
        return scores

    @property
    def _steps(self) -> float:
        """Return the steps of the phase, many where the data does not tell."""
        return self.phase_epochs * (self.params.get("steps") or math.inf)

    def _counts(self, alive: Masks, progress: float) -> dict[str, int]:
        power = power_for(self._steps) if self.curve == "auto" else self.curve
        sparsity, distribution = on_the_way(
            {path: mask.size for path, mask in alive.items()},
            self.start_sparsities,
            self.sparsity,
            progress,
            functools.partial(power_sparsity, power=power),
            self.distribution,
        )
        shapes = {path: mask.shape for path, mask in alive.items()}
        return allocate(shapes, sparsity, distribution)
