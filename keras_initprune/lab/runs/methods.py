"""The pruning methods of a comparison: a name and the callbacks that it stands for.

A new method is one function and one row in `METHODS`. The callbacks are imported
where they are used, so that the command line can list the names without loading
TensorFlow.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_initprune.lab.runs.configuration import Configuration


def split_combination(sparsity: float, epochs: int) -> tuple[float, int, int]:
    """Divide the pruning between K-starts and dissipating gradients.

    K-starts takes the first epoch and a quarter of the way, geometrically in density;
    dissipating gradients goes on from there. This is the only place that decides it.

    Args:
        sparsity: The sparsity to reach in the end.
        epochs: Epochs after which it must be reached.

    Returns:
        The sparsity of K-starts, its epochs, and those of dissipating gradients.

    Raises:
        ValueError: If there are fewer than two epochs to share.

    Example:
        >>> split_combination(0.9375, epochs=4)
        (0.5, 1, 3)
    """
    if epochs < 2:
        raise ValueError(
            "The combination prunes for at least one epoch with each of its two "
            f"methods, so `prune_epochs` must be 2 or more. Received: {epochs}"
        )
    return 1 - (1 - sparsity) ** 0.25, 1, epochs - 1


def _dense(run: "Configuration") -> list[Any]:
    return []


def _random(run: "Configuration") -> list[Any]:
    from keras_initprune.callbacks import RandomPruning

    return [RandomPruning(run.sparsity, run.distribution or "erk", seed=run.masks_from)]


def _k_starts(run: "Configuration") -> list[Any]:
    # Nothing is removed until it selects: half of the pruning epochs, "a couple",
    # leave the survivors more time to settle.
    return [_make_k_starts(run, run.sparsity, max(1, run.prune_epochs // 2))]


def _dissipating_gradients(run: "Configuration") -> list[Any]:
    return [_make_dissipating(run, run.prune_epochs)]


def _combination(run: "Configuration") -> list[Any]:
    first_sparsity, first, second = split_combination(run.sparsity, run.prune_epochs)
    return [_make_k_starts(run, first_sparsity, first), _make_dissipating(run, second)]


def _random_after_epochs(run: "Configuration") -> list[Any]:
    # As many dense epochs as K-starts has, and then the first mask that is drawn.
    from keras_initprune.lab.runs.callbacks import MaskFitness

    epochs = max(1, run.prune_epochs // 2)
    first_mask = _make_k_starts(run.replace(k=1), run.sparsity, epochs)
    return [first_mask, MaskFitness(epochs)]


def _before_training(criterion: str) -> Callable[["Configuration"], list[Any]]:
    def make(run: "Configuration") -> list[Any]:
        from keras_initprune.lab.runs.callbacks import InitialPruning

        return [InitialPruning(criterion, run.sparsity, run.distribution, run.seed)]

    return make


# Steps between two changes of dynamic sparse training. An epoch of MNIST has 550 steps;
# one of the digits has 41, after which Keras comes back to the callbacks.
_REWIRING_INTERVAL = {"digits": 41}
_USUAL_REWIRING_INTERVAL = 100

# Each of them removes the same share of what is left: 45 % on the way to 95 %. The
# usual 20 % takes three times as many trainings.
LOTTERY_ROUNDS = 5


def _magnitude_after_epochs(run: "Configuration") -> list[Any]:
    from keras_initprune.callbacks import OneShotMagnitude

    # As long as K-starts, of which it is the limit.
    epochs = max(1, run.prune_epochs // 2)
    return [OneShotMagnitude(run.sparsity, epochs, run.distribution or "erk")]


def _gradual_magnitude(run: "Configuration") -> list[Any]:
    from keras_initprune.callbacks import GradualMagnitude

    distribution = run.distribution or "erk"
    return [GradualMagnitude(run.sparsity, run.prune_epochs, distribution=distribution)]


def _rewiring(name: str) -> Callable[["Configuration"], list[Any]]:
    def make(run: "Configuration") -> list[Any]:
        from keras_initprune import callbacks

        interval = _REWIRING_INTERVAL.get(run.dataset, _USUAL_REWIRING_INTERVAL)
        callback = getattr(callbacks, name)(
            run.sparsity,
            # Not `prune_epochs`: rewiring takes most of the training.
            epochs=max(1, int(0.75 * run.epochs)),
            interval=interval,
            distribution=run.distribution or "erk",
            seed=run.seed,
        )
        return [callback]

    return make


def _lottery_ticket(run: "Configuration") -> list[Any]:
    from keras_initprune.lab.runs.callbacks import LotteryRounds

    distribution = run.distribution or "global"
    return [LotteryRounds(run.sparsity, LOTTERY_ROUNDS, 0, distribution)]


METHODS: dict[str, Callable[["Configuration"], list[Any]]] = {
    "dense": _dense,
    "small_dense": _dense,
    "random": _random,
    "magnitude_at_init": _before_training("magnitude"),
    "snip": _before_training("snip"),
    "iterative_snip": _before_training("iterative_snip"),
    "force": _before_training("force"),
    "grasp": _before_training("grasp"),
    "synflow": _before_training("synflow"),
    "k_starts": _k_starts,
    "dissipating_gradients": _dissipating_gradients,
    "combination": _combination,
    "random_after_epochs": _random_after_epochs,
    "magnitude_after_epochs": _magnitude_after_epochs,
    "gradual_magnitude": _gradual_magnitude,
    "rigl": _rewiring("RigL"),
    "set": _rewiring("SET"),
    "lottery_ticket": _lottery_ticket,
}


def callbacks(run: "Configuration") -> list[Any]:
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


def trainings(run: "Configuration") -> int:
    """Return how often a run trains its model.

    Example:
        >>> from keras_initprune.lab.runs.configuration import configure
        >>> [trainings(configure(method=m)) for m in ("dense", "lottery_ticket")]
        [1, 6]
    """
    return 1 + LOTTERY_ROUNDS if run.method == "lottery_ticket" else 1


def _make_k_starts(run: "Configuration", sparsity: float, epochs: int) -> Any:
    from keras_initprune.callbacks import KStarts

    return KStarts(
        k=run.k,
        sparsity=sparsity,
        epochs=epochs,
        fitness=run.fitness,
        selection=run.selection,
        distribution=run.distribution or "erk",
        seed=run.masks_from,
    )


def _make_dissipating(run: "Configuration", epochs: int) -> Any:
    from keras_initprune.callbacks import DissipatingGradients

    return DissipatingGradients(
        sparsity=run.sparsity,
        epochs=epochs,
        criterion=run.criterion,
        distribution=run.distribution,
    )
