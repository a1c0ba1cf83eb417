"""The criteria by name."""

from typing import Any, Literal

from keras_initprune import validation
from keras_initprune.criteria.criterion import Criterion
from keras_initprune.criteria.sensitivity import FORCE, SNIP, GraSP, IterativeSNIP
from keras_initprune.criteria.synflow import SynFlow
from keras_initprune.criteria.weights import Magnitude, Random

CriterionName = Literal[
    "random", "magnitude", "snip", "iterative_snip", "force", "grasp", "synflow"
]

CRITERIA: dict[str, type[Criterion]] = {
    "random": Random,
    "magnitude": Magnitude,
    "snip": SNIP,
    "iterative_snip": IterativeSNIP,
    "force": FORCE,
    "grasp": GraSP,
    "synflow": SynFlow,
}
"""The criteria by the names that `prune` takes."""

Method = CriterionName | str | Criterion | type[Criterion]


def get(identifier: Any) -> Criterion:
    """Return a criterion.

    Args:
        identifier: A name of `CRITERIA`, a subclass of `Criterion` or an instance.

    Raises:
        ValueError: If it is none of these; the message lists the names.

    Example:
        >>> get("snip").needs_data
        True
    """
    if isinstance(identifier, Criterion):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Criterion):
        return identifier()
    validation.check_choice(identifier, "method", CRITERIA)
    return CRITERIA[identifier]()
