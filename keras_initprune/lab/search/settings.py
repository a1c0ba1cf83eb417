"""What `initprune search` searches, checked before anything expensive happens."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_initprune import validation
from keras_initprune.lab.runs.configuration import CLASSIFICATION, Configuration
from keras_initprune.tuner import objectives
from keras_initprune.tuner.objectives import OBJECTIVES, SearchObjective
from keras_initprune.tuner.space import METHODS, RANDOM, PruningSpace
from keras_initprune.tuner.tuners import ALGORITHMS

DEFAULT_METHODS = tuple(method for method in METHODS if method != RANDOM)
FOREVER = 1e9
"""More seconds, or minutes, than any search takes."""
_SPARSITIES = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99)


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Everything that decides what a search looks for, and among what.

    Attributes:
        run: Data set, model and training, of the method `"dense"`.
        objective: Name of the objective.
        sparsity: The sparsity of `"accuracy_at_sparsity"`.
        tolerance: The tolerance of `"sparsity_within_tolerance"`.
        algorithm: Name of the algorithm, see `PruningTuner`.
        trials: Budget of trials.
        minutes: Budget of time, or None.
        methods: Which pruning methods to choose among.
        sparsities: Which sparsities to choose among; empty for what the objective
            suggests: the sparsity of `"accuracy_at_sparsity"`, and otherwise 0.8 to
            0.99.
    """

    run: Configuration
    objective: str = "accuracy_at_sparsity"
    sparsity: float = 0.95
    tolerance: float = 0.005
    algorithm: str = "bayesian"
    trials: int = 20
    minutes: float | None = None
    methods: Sequence[str] = DEFAULT_METHODS
    sparsities: Sequence[float] = ()

    def __post_init__(self) -> None:
        validation.check_choice(self.objective, "objective", OBJECTIVES)
        validation.check_choice(self.algorithm, "tuner", ALGORITHMS)
        validation.check_sparsity(self.sparsity)
        validation.check_fraction(self.tolerance, "tolerance")
        validation.check_positive_integer(self.trials, "trials")
        if self.minutes is not None:
            validation.check_positive(self.minutes, "minutes", below=FOREVER)
        for method in self.methods:
            validation.check_choice(method, "methods", METHODS)
        self.space()

    @property
    def metric(self) -> str:
        """The metric that choices are made on, of the validation split."""
        is_classifier = self.run.task == CLASSIFICATION
        return "val_accuracy" if is_classifier else "val_loss"

    @property
    def identity(self) -> dict[str, Any]:
        """What two calls must have in common to be the same search."""
        own = dataclasses.asdict(self)
        run = own.pop("run")
        for name in ("trials", "minutes"):  # More of them is the same search, longer.
            own.pop(name)
        for name in ("method", "sparsity"):
            run.pop(name)
        lists = {name: list(own[name]) for name in ("methods", "sparsities")}
        return {**own, **lists, "run": run}

    def make_objective(self, reference: Any) -> SearchObjective:
        """Return the objective; `reference` returns the dense network's metric."""
        arguments: dict[str, dict[str, Any]] = {
            "accuracy_at_sparsity": {"sparsity": self.sparsity},
            "sparsity_within_tolerance": {
                "reference": reference,
                "tolerance": self.tolerance,
            },
            "pareto_front": {},
        }
        return objectives.get(
            self.objective, metric=self.metric, **arguments[self.objective]
        )

    def space(self) -> PruningSpace:
        """Return the pruning hyperparameters, which fit into the epochs.

        Pruning takes at most half of them, so that the survivors can settle; Hyperband
        needs one more epoch in its shortest trials, which are half as long.

        Raises:
            ValueError: If there are too few epochs.
        """
        epochs, hyperband = self.run.epochs, self.algorithm == "hyperband"
        least = 6 if hyperband else 3
        if epochs < least:
            raise ValueError(
                f"`epochs` must be at least {least} to prune and recover in. "
                f"Received: epochs={epochs}"
            )
        most = max(2, epochs // 2) - hyperband
        first = [1, 2] if most >= 4 else [1]
        then = [e for e in (2, 3, 4) if e <= most - first[-1]] or [1]
        # A sparser network than what is asked for is hardly ever more accurate.
        is_fixed = self.objective == "accuracy_at_sparsity"
        suggested = (self.sparsity,) if is_fixed else _SPARSITIES
        return PruningSpace(
            methods=list(self.methods),
            sparsities=list(self.sparsities or suggested),
            k_starts_epochs=first,
            dissipating_epochs=then,
            combination_epochs=[e for e in (2, 3, 4, 6) if e <= most] or [1],
        )
