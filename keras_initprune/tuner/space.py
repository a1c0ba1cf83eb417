"""What a search varies: the method, sparsity, k, epochs, fitness and selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initprune import validation
from keras_initprune.arrays.selection import SELECTIONS
from keras_initprune.callbacks.baselines import RandomPruning
from keras_initprune.callbacks.combination import Combination
from keras_initprune.callbacks.dissipating_gradients import DissipatingGradients
from keras_initprune.callbacks.k_starts import KStarts
from keras_initprune.constraints.layers import LayerSelector, check_none_dense
from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.criteria.fitness import FITNESS

PREFIX = "pruning/"
"""What the names of the hyperparameters begin with, to stay clear of the user's."""

COMBINATION, DISSIPATING, K_STARTS, RANDOM = (
    "combination",
    "dissipating_gradients",
    "k_starts",
    "random",
)
METHODS = (COMBINATION, DISSIPATING, K_STARTS, RANDOM)
_WITH_MASKS = (COMBINATION, K_STARTS)
_DISTRIBUTIONS = ("erk", "uniform", "global")
_COUNTED = ("erk", "uniform")  # Those that say how many weights a tensor keeps.

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PruningSpace:
    """The pruning hyperparameters of a search, and the callbacks that they stand for.

    Every attribute is a list of values to choose from. One value is fixed and costs the
    search nothing. What a choice makes meaningless is not asked: k only where random
    masks are drawn, fresh starts only of the combination, and so on.

    Args:
        methods: Any of `"combination"`, `"dissipating_gradients"`, `"k_starts"` and
            `"random"`. Defaults to the first three.
        sparsities: Fractions to remove, in [0, 1).
        k: Numbers of random masks.
        k_starts_epochs: Epochs in which K-starts gather fitness.
        fitness: Fitness of a weight in K-starts.
        selections: What competes in K-starts.
        combination_epochs: Epochs in which the combination changes masks.
        restarts: The combination's share of fresh starts when it begins, in [0, 1].
        dissipating_epochs: Epochs at whose ends dissipating gradients remove weights.
        criteria: What counts as movement.
        distributions: How the sparsity spreads over tensors. `"global"` ranks weights,
            so K-starts recombine under it, and neither random pruning nor the
            combination ever uses it.
        draws: Seeds of random pruning: the best of several random masks is what a
            search for a good one has to beat.
        layers: Which weights to prune, see `Layers`; not searched.

    Raises:
        ValueError: If a list is empty or holds a value that a callback would refuse.

    Example:
        >>> space = PruningSpace(methods=["k_starts"], k=[4, 16], sparsities=[0.9])
        >>> space.pruning_epochs()
        2
    """

    methods: Sequence[str] = (COMBINATION, DISSIPATING, K_STARTS)
    sparsities: Sequence[float] = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
    k: Sequence[int] = (4, 16, 64)
    k_starts_epochs: Sequence[int] = (1, 2)
    fitness: Sequence[str] = ("magnitude", "gradient", "combined")
    selections: Sequence[str] = ("recombine", "unit", "layer", "network")
    combination_epochs: Sequence[int] = (3, 4, 6)
    restarts: Sequence[float] = (0.3, 0.5, 0.8)
    dissipating_epochs: Sequence[int] = (2, 3, 4)
    criteria: Sequence[str] = ("movement",)
    distributions: Sequence[str] = ("erk", "global")
    draws: Sequence[int] = tuple(range(32))
    layers: LayerSelector = None

    def __post_init__(self) -> None:
        rules: dict[str, Any] = {
            "methods": validation.one_of(METHODS),
            "sparsities": validation.check_sparsity,
            "k": validation.check_positive_integer,
            "k_starts_epochs": validation.check_positive_integer,
            "fitness": validation.one_of(FITNESS),
            "selections": validation.one_of(SELECTIONS),
            "combination_epochs": validation.check_positive_integer,
            "restarts": validation.check_share,
            "dissipating_epochs": validation.check_positive_integer,
            "criteria": validation.one_of(DISSIPATION),
            "distributions": validation.one_of(_DISTRIBUTIONS),
            "draws": validation.check_seed,
        }
        for name, check in rules.items():
            values = getattr(self, name)
            if isinstance(values, str) or not values:
                raise ValueError(
                    f"`{name}` must list the values to choose from, at least one. "
                    f"Received: {name}={values!r}"
                )
            for value in values:
                check(value, name)
        self._check_distributions()
        check_none_dense(self.layers, "a search")

    def sample(self, hp: Any) -> dict[str, Any]:
        """Declare every hyperparameter, and return the values of those that are active.

        Args:
            hp: KerasTuner's `HyperParameters`.

        Returns:
            From name, without the prefix, to value.
        """
        values: dict[str, Any] = {}

        def choose(name: str, choices: Sequence[Any]) -> None:
            chosen = _choose(hp, name, choices)
            if chosen is not None:
                values[name] = chosen

        def where(name: str, choices: Sequence[Any]) -> Any:
            return hp.conditional_scope(PREFIX + name, list(choices))

        choose("method", self.methods)
        choose("sparsity", self.sparsities)
        # KerasTuner wants a condition's parent in the scope around it, and a name only
        # once, so that every kind of method has a distribution of its own.
        if self._has(_WITH_MASKS):
            with where("method", _WITH_MASKS):
                choose("k", self.k)
        if COMBINATION in self.methods:
            with where("method", [COMBINATION]):
                choose("combination_epochs", self.combination_epochs)
                choose("restarts", self.restarts)
                choose("combination_distribution", self._counted())
        if K_STARTS in self.methods:
            with where("method", [K_STARTS]):
                choose("k_starts_epochs", self.k_starts_epochs)
                choose("fitness", self.fitness)
                choose("distribution", self.distributions)
                if self._counted():
                    with where("distribution", self._counted()):
                        choose("selection", self.selections)
        if DISSIPATING in self.methods:
            with where("method", [DISSIPATING]):
                choose("dissipating_epochs", self.dissipating_epochs)
                choose("criterion", self.criteria)
                choose("dissipating_distribution", self.distributions)
        if RANDOM in self.methods:
            with where("method", [RANDOM]):
                choose("random_distribution", self._counted())
                choose("draw", self.draws)
        return values

    def callbacks(
        self, values: Values, seed: int | None = None
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks that prune as sampled values say.

        Args:
            values: What `sample` returned.
            seed: Seed of the random masks. Defaults to None: see `KStarts`.

        Example:
            >>> values = {"method": "random", "sparsity": 0.9,
            ...           "random_distribution": "erk", "draw": 3}
            >>> [callback] = PruningSpace().callbacks(values)
            >>> callback.sparsity, callback.distribution, callback.seed
            (0.9, 'erk', 3)
        """
        method = values["method"]
        shared: dict[str, Any] = {"sparsity": values["sparsity"], "layers": self.layers}
        if method == RANDOM:
            distribution, draw = values["random_distribution"], values["draw"]
            return [RandomPruning(distribution=distribution, seed=draw, **shared)]
        if method == COMBINATION:
            combination = Combination(
                epochs=values["combination_epochs"],
                k=values["k"],
                restarts=values["restarts"],
                distribution=values["combination_distribution"],
                seed=seed,
                **shared,
            )
            return [combination]
        if method == K_STARTS:
            k_starts = KStarts(
                k=values["k"],
                epochs=values["k_starts_epochs"],
                fitness=values["fitness"],
                selection=values.get("selection", "recombine"),
                distribution=values["distribution"],
                seed=seed,
                **shared,
            )
            return [k_starts]
        dissipating = DissipatingGradients(
            epochs=values["dissipating_epochs"],
            criterion=values["criterion"],
            distribution=values["dissipating_distribution"],
            **shared,
        )
        return [dissipating]

    def pruning_epochs(self, values: Values | None = None) -> int:
        """Return after how many epochs the mask is final.

        Args:
            values: What `sample` returned. Defaults to None: the most that any sample
                of this space takes.
        """
        longest = {
            COMBINATION: ("combination_epochs", max(self.combination_epochs)),
            DISSIPATING: ("dissipating_epochs", max(self.dissipating_epochs)),
            K_STARTS: ("k_starts_epochs", max(self.k_starts_epochs)),
            RANDOM: ("", 0),
        }
        if values is not None:
            return values.get(longest[values["method"]][0], 0)
        return max(longest[method][1] for method in self.methods)

    def _has(self, methods: Sequence[str]) -> bool:
        return any(method in methods for method in self.methods)

    def _counted(self) -> list[str]:
        return [name for name in self.distributions if name in _COUNTED]

    def _check_distributions(self) -> None:
        if self._has((COMBINATION, RANDOM)) and not self._counted():
            raise ValueError(
                "`distributions` must include 'erk' or 'uniform' for random pruning "
                "and the combination, which rank within a tensor at most. Received: "
                f"distributions={self.distributions!r}"
            )
        recombines = "recombine" in self.selections
        if (
            K_STARTS in self.methods
            and "global" in self.distributions
            and not recombines
        ):
            raise ValueError(
                "`selections` must include 'recombine' where `distributions` has "
                "'global', which ranks weights over the whole network. "
                f"Received: selections={self.selections!r}"
            )


def _choose(hp: Any, name: str, choices: Sequence[Any]) -> Any:
    """Declare one hyperparameter; return its value, or None where it is not active."""
    if len(choices) == 1:
        chosen = hp.Fixed(PREFIX + name, choices[0])
    else:
        chosen = hp.Choice(PREFIX + name, list(choices))
    if not isinstance(chosen, float):
        return chosen
    # Between chief and workers numbers travel in single precision.
    return min(choices, key=lambda choice: abs(choice - chosen))
