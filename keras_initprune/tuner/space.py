"""What a search varies: k, sparsity, epochs, fitness, selection and the split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initprune.arrays.selection import SELECTIONS
from keras_initprune.callbacks import DissipatingGradients, KStarts, RandomPruning
from keras_initprune.constraints.layers import LayerSelector, check_none_dense
from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.criteria.fitness import FITNESS
from keras_initprune.validation import (
    check_choice,
    check_fraction,
    check_positive_integer,
    check_seed,
    check_sparsity,
)

PREFIX = "pruning/"
"""What the names of the hyperparameters begin with, to stay clear of the user's."""

COMBINATION, DISSIPATING, K_STARTS, RANDOM = (
    "combination",
    "dissipating_gradients",
    "k_starts",
    "random",
)
METHODS = (COMBINATION, DISSIPATING, K_STARTS, RANDOM)
_WITH_K_STARTS = (COMBINATION, K_STARTS)
_WITH_DISSIPATION = (COMBINATION, DISSIPATING)
_RANKED = (COMBINATION, DISSIPATING, K_STARTS)
_DISTRIBUTIONS = ("erk", "uniform", "global")
_COUNTED = ("erk", "uniform")  # Those that need no scores to rank.

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PruningSpace:
    """The pruning hyperparameters of a search, and the callbacks that they stand for.

    Every attribute is a list of values to choose from. One value is fixed and costs the
    search nothing. What a choice makes meaningless is not asked: k only where K-starts
    take part, the share only where two methods share the pruning, and so on.

    Args:
        methods: Any of `"combination"`, `"dissipating_gradients"`, `"k_starts"` and
            `"random"`. Defaults to the first three.
        sparsities: Fractions to remove, in [0, 1).
        k: Numbers of random masks.
        k_starts_epochs: Epochs in which K-starts gather fitness.
        fitness: Fitness of a weight in K-starts.
        selections: What competes in K-starts.
        shares: In the combination, the share of the way that K-starts go, in (0, 1],
            geometrically in density: with share a they reach 1 - (1 - sparsity) ** a.
        dissipating_epochs: Epochs at whose ends dissipating gradients remove weights.
        criteria: What counts as movement.
        distributions: How the sparsity spreads over tensors. `"global"` ranks weights,
            so K-starts recombine under it, and random pruning never uses it.
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

    methods: Sequence[str] = _RANKED
    sparsities: Sequence[float] = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
    k: Sequence[int] = (4, 16, 64)
    k_starts_epochs: Sequence[int] = (1, 2)
    fitness: Sequence[str] = ("magnitude", "gradient", "combined")
    selections: Sequence[str] = ("recombine", "unit", "layer", "network")
    shares: Sequence[float] = (0.25, 0.5, 0.75)
    dissipating_epochs: Sequence[int] = (2, 3, 4)
    criteria: Sequence[str] = ("movement",)
    distributions: Sequence[str] = ("erk", "global")
    draws: Sequence[int] = tuple(range(32))
    layers: LayerSelector = None

    def __post_init__(self) -> None:
        rules: dict[str, Any] = {
            "methods": lambda value, name: check_choice(value, name, METHODS),
            "sparsities": check_sparsity,
            "k": check_positive_integer,
            "k_starts_epochs": check_positive_integer,
            "fitness": lambda value, name: check_choice(value, name, FITNESS),
            "selections": lambda value, name: check_choice(value, name, SELECTIONS),
            "shares": check_fraction,
            "dissipating_epochs": check_positive_integer,
            "criteria": lambda value, name: check_choice(value, name, DISSIPATION),
            "distributions": lambda v, name: check_choice(v, name, _DISTRIBUTIONS),
            "draws": check_seed,
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
        if self._has(_WITH_K_STARTS):
            with where("method", _WITH_K_STARTS):
                choose("k", self.k)
                choose("k_starts_epochs", self.k_starts_epochs)
                choose("fitness", self.fitness)
                choose("distribution", self.distributions)
                if self._counted():
                    with where("distribution", self._counted()):
                        choose("selection", self.selections)
        if DISSIPATING in self.methods:
            with where("method", [DISSIPATING]):
                choose("dissipating_distribution", self.distributions)
        if RANDOM in self.methods:
            with where("method", [RANDOM]):
                choose("random_distribution", self._counted())
                choose("draw", self.draws)
        if COMBINATION in self.methods:
            with where("method", [COMBINATION]):
                choose("share", self.shares)
        if self._has(_WITH_DISSIPATION):
            with where("method", _WITH_DISSIPATION):
                choose("dissipating_epochs", self.dissipating_epochs)
                choose("criterion", self.criteria)
        return values

    def callbacks(
        self, values: Values, seed: int | None = None
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks that prune as sampled values say.

        Args:
            values: What `sample` returned.
            seed: Seed of K-starts' masks. Defaults to None: see `KStarts`.

        Example:
            >>> values = {"method": "random", "sparsity": 0.9,
            ...           "random_distribution": "erk", "draw": 3}
            >>> [callback] = PruningSpace().callbacks(values)
            >>> callback.sparsity, callback.distribution, callback.seed
            (0.9, 'erk', 3)
        """
        method, sparsity = values["method"], values["sparsity"]
        if method == RANDOM:
            distribution, draw = values["random_distribution"], values["draw"]
            return [
                RandomPruning(sparsity, distribution, seed=draw, layers=self.layers)
            ]
        made: list[keras.callbacks.Callback] = []
        if method in _WITH_K_STARTS:
            k_starts = KStarts(
                k=values["k"],
                sparsity=1.0 - (1.0 - sparsity) ** values.get("share", 1.0),
                epochs=values["k_starts_epochs"],
                fitness=values["fitness"],
                selection=values.get("selection", "recombine"),
                distribution=values["distribution"],
                seed=seed,
                layers=self.layers,
            )
            made.append(k_starts)
        if method in _WITH_DISSIPATION:
            dissipating = DissipatingGradients(
                sparsity=sparsity,
                epochs=values["dissipating_epochs"],
                criterion=values["criterion"],
                distribution=values[
                    "dissipating_distribution"
                    if method == DISSIPATING
                    else "distribution"
                ],
                layers=self.layers,
            )
            made.append(dissipating)
        return made

    def pruning_epochs(self, values: Values | None = None) -> int:
        """Return after how many epochs the mask is final.

        Args:
            values: What `sample` returned. Defaults to None: the most that any sample
                of this space takes.
        """
        if values is not None:
            names = ("k_starts_epochs", "dissipating_epochs")
            return sum(values.get(name, 0) for name in names)
        first = max(self.k_starts_epochs) if self._has(_WITH_K_STARTS) else 0
        then = max(self.dissipating_epochs) if self._has(_WITH_DISSIPATION) else 0
        return first + then if COMBINATION in self.methods else max(first, then)

    def _has(self, methods: Sequence[str]) -> bool:
        return any(method in methods for method in self.methods)

    def _counted(self) -> list[str]:
        return [name for name in self.distributions if name in _COUNTED]

    def _check_distributions(self) -> None:
        if RANDOM in self.methods and not self._counted():
            raise ValueError(
                "`distributions` must include 'erk' or 'uniform' for random pruning, "
                f"which ranks nothing. Received: distributions={self.distributions!r}"
            )
        recombines = "recombine" in self.selections
        if (
            self._has(_WITH_K_STARTS)
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
