"""The pruning methods of a comparison: a name and the callbacks that it stands for.

A new method is one row in `METHODS`, a function where the row would be long, and a
name in `configuration.METHODS`, which the command line lists without TensorFlow. What
is no callback of the library comes first, and so does what a run measures.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

import keras_initprune as library
from keras_initprune import constraints
from keras_initprune.arrays.distributions import Distribution
from keras_initprune.gradients import GradientRecorder
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.pruning import prune
from keras_initprune.research.lottery import lottery_ticket


class Audit(keras.callbacks.Callback):
    """Counts the weights that are not zero and the seconds, epoch by epoch.

    It comes last in the list of callbacks, so that it sees what is evaluated.

    Attributes:
        nonzeros: Weights under masks that are not zero at the end of every epoch; 0 as
            long as there are no masks.
        seconds: Duration of every epoch, pruning included.

    Raises:
        RuntimeError: If a weight that a mask removes is not zero.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Count anew."""
        self.nonzeros: list[int] = []
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop the clock and count."""
        self.seconds.append(round(time.perf_counter() - self._started, 3))
        masks = constraints.get_masks(self.model)
        count = 0
        for path, weight in constraints.masked_weights(self.model).items():
            nonzero = weight.numpy() != 0
            if np.any(nonzero & ~masks[path]):
                raise RuntimeError(f"Pruned weights of {path!r} are not zero.")
            count += int(np.count_nonzero(nonzero))
        self.nonzeros.append(count)


class MaskFitness(keras.callbacks.Callback):
    """Notes the fitness of the mask that `KStarts` with k = 1 applies.

    It comes after `KStarts` in the list. Masks that were drawn for the same training
    compare by the sums over what they keep.

    Attributes:
        fitness: From name to the mask's fitness: `"magnitude"`, `"gradient"` and the
            distance moved, `"movement"`. Empty before the selection.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.fitness: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin to gather."""
        if epoch == 0:
            self._weights = constraints.masked_weights(self.model)
            self._initial = {p: w.numpy() for p, w in self._weights.items()}
            self._recorder = GradientRecorder(self.model, self._weights, gradients=True)
            self._recorder.start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add up what the mask keeps, which still has its trained values."""
        if epoch + 1 != self.epochs:
            return
        masks, totals = constraints.get_masks(self.model), self._recorder.totals()
        values = {path: weight.numpy() for path, weight in self._weights.items()}
        moved = {path: values[path] - self._initial[path] for path in values}
        found = {"magnitude": values, "gradient": totals, "movement": moved}
        for name, scores in found.items():
            kept = [np.abs(scores[path][mask]).sum() for path, mask in masks.items()]
            self.fitness[name] = float(np.sum(kept))
        self._recorder.stop()
        self._weights, self._initial = {}, {}


class MagnitudeStarts(library.Combination):
    """The combination, with fresh starts by the sum of gradients' magnitudes."""

    def record_pull(self) -> GradientRecorder:
        """Return what sums |dL/dw|, in which noise does not cancel."""
        return GradientRecorder(self.model, self._weights, magnitudes=True)


@dataclass(eq=False, repr=False)
class InitialPruning(keras.callbacks.Callback):
    """Prunes the model with a criterion before its first step.

    Attributes:
        data: The training data `(x, y)`, to be set before training.
    """

    method: str
    sparsity: float
    distribution: str | None = None
    seed: int | None = None
    data: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def set_model(self, model: keras.Model) -> None:
        """Prune, before Keras compiles the training step."""
        super().set_model(model)
        what, how = (self.method, self.sparsity, self.data), self.distribution
        prune(model, *what, distribution=how, seed=self.seed)


@dataclass
class LotteryRounds:
    """Trains a model round by round and leaves it as the trained ticket."""

    sparsity: float
    rounds: int
    distribution: Distribution

    def train(
        self,
        model: keras.Model,
        fit: Callable[[keras.Model, list[keras.callbacks.Callback]], Any],
    ) -> Any:
        """Run all rounds, and return what `fit` returned in the last one."""
        what, how = (self.sparsity, self.rounds), self.distribution
        tickets = lottery_ticket(model, fit, *what, distribution=how, verbose=0)
        return tickets.rounds[-1].result


Method = Callable[[Configuration], list[Any]]

# Each of them removes the same share of what is left: 45 % on the way to 95 %. The
# usual 20 % takes three times as many trainings.
LOTTERY_ROUNDS = 5

# Steps between two changes of dynamic sparse training. An epoch of MNIST has 550 steps;
# one of the digits has 41, after which Keras comes back to the callbacks.
_REWIRING_INTERVAL = {"digits": 41}
_USUAL_REWIRING_INTERVAL = 100

_SETTINGS = ("restarts", "age", "curve", "memory")


def _made(run: Configuration, kind: Callable[..., Any], **arguments: Any) -> Any:
    """Return a callback with the run's sparsity and distribution."""
    shared = {"sparsity": run.sparsity, "distribution": run.distribution or "erk"}
    return kind(**{**shared, **arguments})


def _half(run: Configuration) -> int:
    # Nothing is removed until it is selected: half of the pruning epochs, "a couple",
    # leave the survivors more time to settle.
    return max(1, run.prune_epochs // 2)


def _k_starts(run: Configuration, epochs: int, **arguments: Any) -> Any:
    own = {name: getattr(run, name) for name in ("k", "fitness", "selection")}
    seeded = {"epochs": epochs, "seed": run.masks_from}
    return _made(run, library.KStarts, **{**own, **seeded, **arguments})


def _dissipating(run: Configuration, epochs: int) -> Any:
    how = {"criterion": run.criterion, "distribution": run.distribution}
    return _made(run, library.DissipatingGradients, epochs=epochs, **how)


def _combination(start_sparsity: float = 0.0) -> Method:
    def make(run: Configuration) -> list[Any]:
        kind = MagnitudeStarts if run.growth == "magnitudes" else library.Combination
        given = {name: getattr(run, name) for name in _SETTINGS}
        how = {name: value for name, value in given.items() if value is not None}
        how |= {"epochs": run.prune_epochs, "k": run.k, "seed": run.masks_from}
        callback = _made(run, kind, start_sparsity=start_sparsity, **how)
        return [callback, *_fitness(run, run.prune_epochs)]

    return make


def _fitness(run: Configuration, epochs: int) -> list[Any]:
    """Return what notes a mask's fitness, if the run's mask has others beside it."""
    return [] if run.mask_seed is None else [MaskFitness(epochs)]


def _hand_over(run: Configuration) -> list[Any]:
    """K-starts for an epoch and a quarter of the way, then dissipating gradients."""
    if run.prune_epochs < 2:
        raise ValueError(
            "The method 'hand_over' prunes for at least one epoch with each of its two "
            f"halves, so `prune_epochs` must be 2 or more. Received: {run.prune_epochs}"
        )
    first = _k_starts(run, 1, sparsity=1 - (1 - run.sparsity) ** 0.25)
    return [first, _dissipating(run, run.prune_epochs - 1)]


def _random_after_epochs(run: Configuration) -> list[Any]:
    # As many dense epochs as K-starts has, and then the first mask that is drawn.
    epochs = _half(run)
    return [_k_starts(run, epochs, k=1), *_fitness(run, epochs)]


def _before_training(criterion: str) -> Method:
    return lambda run: [
        InitialPruning(criterion, run.sparsity, run.distribution, run.seed)
    ]


def _gradual(kind: Callable[..., Any]) -> Method:
    return lambda run: [_made(run, kind, epochs=run.prune_epochs)]


def _rewiring(kind: Callable[..., Any]) -> Method:
    def make(run: Configuration) -> list[Any]:
        interval = _REWIRING_INTERVAL.get(run.dataset, _USUAL_REWIRING_INTERVAL)
        how = {"epochs": run.prune_epochs, "interval": interval, "seed": run.seed}
        return [_made(run, kind, **how)]

    return make


METHODS: dict[str, Method] = {
    "dense": lambda run: [],
    "small_dense": lambda run: [],
    "random": lambda run: [_made(run, library.RandomPruning, seed=run.masks_from)],
    "magnitude_at_init": _before_training("magnitude"),
    "snip": _before_training("snip"),
    "iterative_snip": _before_training("iterative_snip"),
    "force": _before_training("force"),
    "grasp": _before_training("grasp"),
    "synflow": _before_training("synflow"),
    "k_starts": lambda run: [_k_starts(run, _half(run))],
    "dissipating_gradients": lambda run: [_dissipating(run, run.prune_epochs)],
    "combination": _combination(),
    "combination_from_75": _combination(start_sparsity=0.75),
    "combination_from_90": _combination(start_sparsity=0.9),
    "hand_over": _hand_over,
    "random_after_epochs": _random_after_epochs,
    # As long as K-starts, of which it is the limit.
    "magnitude_after_epochs": lambda run: [
        _made(run, library.OneShotMagnitude, epochs=_half(run))
    ],
    "gradual_magnitude": _gradual(library.GradualMagnitude),
    "granet": _gradual(library.GraNet),
    "rigl": _rewiring(library.RigL),
    "set": _rewiring(library.SET),
    "lottery_ticket": lambda run: [
        LotteryRounds(run.sparsity, LOTTERY_ROUNDS, run.distribution or "global")
    ],
}


def callbacks(run: Configuration) -> list[Any]:
    """Return new callbacks that prune as the configuration says.

    There are none for `"dense"`, and for `"lottery_ticket"` one `LotteryRounds`, which
    trains by itself.

    Raises:
        ValueError: If a setting breaks a callback's rule.

    Example:
        >>> from keras_initprune.lab.runs.configuration import configure
        >>> callbacks(configure("digits", method="dense"))
        []
    """
    return METHODS[run.method](run)


def trainings(run: Configuration) -> int:
    """Return how often a run trains its model.

    Example:
        >>> from keras_initprune.lab.runs.configuration import configure
        >>> [trainings(configure(method=m)) for m in ("dense", "lottery_ticket")]
        [1, 6]
    """
    return 1 + LOTTERY_ROUNDS if run.method == "lottery_ticket" else 1
