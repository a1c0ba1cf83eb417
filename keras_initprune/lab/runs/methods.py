"""The pruning methods of a comparison: a name and the callbacks that it stands for.

A new method is one row in `METHODS`, a function where the row would be long, and a
name in `configuration.METHODS`. The callbacks are imported when they are made, so
that the command line can list the names without loading TensorFlow.
"""

from collections.abc import Callable
from typing import Any

from keras_initprune.lab.runs.configuration import Configuration

Method = Callable[[Configuration], list[Any]]

# Each of them removes the same share of what is left: 45 % on the way to 95 %. The
# usual 20 % takes three times as many trainings.
LOTTERY_ROUNDS = 5

# Steps between two changes of dynamic sparse training. An epoch of MNIST has 550 steps;
# one of the digits has 41, after which Keras comes back to the callbacks.
_REWIRING_INTERVAL = {"digits": 41}
_USUAL_REWIRING_INTERVAL = 100

_SETTINGS = ("restarts", "age", "curve", "memory")


def _made(run: Configuration, name: str, **arguments: Any) -> Any:
    """Return the callback of a name, with the run's sparsity and distribution."""
    from keras_initprune import callbacks

    shared = {"sparsity": run.sparsity, "distribution": run.distribution or "erk"}
    return getattr(callbacks, name)(**{**shared, **arguments})


def _half(run: Configuration) -> int:
    # Nothing is removed until it is selected: half of the pruning epochs, "a couple",
    # leave the survivors more time to settle.
    return max(1, run.prune_epochs // 2)


def _k_starts(run: Configuration, epochs: int, **arguments: Any) -> Any:
    own = {name: getattr(run, name) for name in ("k", "fitness", "selection")}
    seeded = {"epochs": epochs, "seed": run.masks_from}
    return _made(run, "KStarts", **{**own, **seeded, **arguments})


def _dissipating(run: Configuration, epochs: int) -> Any:
    how = {"criterion": run.criterion, "distribution": run.distribution}
    return _made(run, "DissipatingGradients", epochs=epochs, **how)


def _combination(start_sparsity: float = 0.0) -> Method:
    def make(run: Configuration) -> list[Any]:
        from keras_initprune.callbacks import Combination
        from keras_initprune.lab.runs.callbacks import MagnitudeStarts

        kind = MagnitudeStarts if run.growth == "magnitudes" else Combination
        given = {name: getattr(run, name) for name in _SETTINGS}
        callback = kind(
            sparsity=run.sparsity,
            epochs=run.prune_epochs,
            k=run.k,
            start_sparsity=start_sparsity,
            distribution=run.distribution or "erk",
            seed=run.masks_from,
            **{name: value for name, value in given.items() if value is not None},
        )
        return [callback, *_fitness(run, run.prune_epochs)]

    return make


def _fitness(run: Configuration, epochs: int) -> list[Any]:
    """Return what notes a mask's fitness, if the run's mask has others beside it."""
    from keras_initprune.lab.runs.callbacks import MaskFitness

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
    def make(run: Configuration) -> list[Any]:
        from keras_initprune.lab.runs.callbacks import InitialPruning

        return [InitialPruning(criterion, run.sparsity, run.distribution, run.seed)]

    return make


def _gradual(name: str) -> Method:
    return lambda run: [_made(run, name, epochs=run.prune_epochs)]


def _rewiring(name: str) -> Method:
    def make(run: Configuration) -> list[Any]:
        interval = _REWIRING_INTERVAL.get(run.dataset, _USUAL_REWIRING_INTERVAL)
        how = {"epochs": run.prune_epochs, "interval": interval, "seed": run.seed}
        return [_made(run, name, **how)]

    return make


def _lottery_ticket(run: Configuration) -> list[Any]:
    from keras_initprune.lab.runs.callbacks import LotteryRounds

    distribution = run.distribution or "global"
    return [LotteryRounds(run.sparsity, LOTTERY_ROUNDS, distribution)]


METHODS: dict[str, Method] = {
    "dense": lambda run: [],
    "small_dense": lambda run: [],
    "random": lambda run: [_made(run, "RandomPruning", seed=run.masks_from)],
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
        _made(run, "OneShotMagnitude", epochs=_half(run))
    ],
    "gradual_magnitude": _gradual("GradualMagnitude"),
    "granet": _gradual("GraNet"),
    "rigl": _rewiring("RigL"),
    "set": _rewiring("SET"),
    "lottery_ticket": _lottery_ticket,
}


def callbacks(run: Configuration) -> list[Any]:
    """Return what prunes as the configuration says.

    Returns:
        A new list of Keras callbacks, empty for `"dense"`; for `"lottery_ticket"` one
        `LotteryRounds`, which trains by itself.

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
