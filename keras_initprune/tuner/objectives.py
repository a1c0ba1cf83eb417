"""What a search looks for: accuracy at a sparsity, sparsity at an accuracy, or both.

Accuracy alone drives the sparsity to nothing, and sparsity alone drives the accuracy
there. Each objective turns what was measured in a finished trial into one score, higher
is better.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras_tuner
from keras_tuner import errors

from keras_initprune.validation import check_choice, check_fraction, check_sparsity

SPARSITY = "sparsity"
SCORE = "score"
# A p-sparse mask keeps a whole number of weights, tensor by tensor.
_ROUNDING = 5e-4

Metrics = Mapping[str, Any]


class SearchObjective(keras_tuner.Objective):
    """Base of the objectives: a score from the metrics at the end of training.

    The metrics are those of the last epoch, when the mask has been final for a while.
    The best epoch would often be one before anything was removed.

    Args:
        metric: Name of a metric in the training's logs. Defaults to `"val_accuracy"`.
        metric_direction: `"max"` for a metric in [0, 1] such as accuracy, `"min"` for
            one from 0 upwards such as a loss. Defaults to None: told from the name.

    Raises:
        ValueError: If the direction is unknown, or cannot be told from the name.
    """

    def __init__(
        self, metric: str = "val_accuracy", metric_direction: str | None = None
    ):
        super().__init__(SCORE, "max")
        self.metric = metric
        self.metric_direction = metric_direction or _direction_of(metric)
        check_choice(self.metric_direction, "metric_direction", ("max", "min"))

    def score(self, metrics: Metrics) -> float:
        """Return the score of a finished trial.

        Args:
            metrics: What was measured, with `"sparsity"`, the fraction of weights
                that are zero.
        """
        raise NotImplementedError

    def quality(self, metrics: Metrics) -> float:
        """Return the metric brought to [0, 1], higher is better.

        A metric m to maximise is itself; one to minimise becomes 1 / (1 + m).

        Raises:
            FatalValueError: If the metric is missing or outside its range. It ends the
                search, since no other trial would fare better.
        """
        value = self.value(metrics)
        if self.metric_direction == "max" and 0 <= value <= 1:
            return value
        if self.metric_direction == "min" and value >= 0:
            return 1.0 / (1.0 + value)
        raise errors.FatalValueError(
            f"`metric` must be at least 0, and at most 1 if it is to be maximised. "
            f"Received: {self.metric}={value!r} with direction "
            f"{self.metric_direction!r}"
        )

    def value(self, metrics: Metrics) -> float:
        """Return the metric as it was measured."""
        if self.metric not in metrics:
            raise errors.FatalValueError(
                f"The objective needs the metric {self.metric!r}, which the training "
                f"does not report: compile the model with it and pass "
                f"`validation_data` to `search`. Received: {sorted(metrics)}"
            )
        return float(metrics[self.metric])


class AccuracyAtSparsity(SearchObjective):
    """The best accuracy at a sparsity or above.

    A network that is sparse enough scores its quality, which is at least 0; any other
    one scores what it lacks in sparsity, below 0.

    Args:
        sparsity: The least fraction of weights to be removed. Defaults to 0.95.
        metric: See `SearchObjective`.
        metric_direction: See `SearchObjective`.

    Example:
        >>> objective = AccuracyAtSparsity(0.9)
        >>> objective.score({"val_accuracy": 0.98, "sparsity": 0.9})
        0.98
        >>> round(objective.score({"val_accuracy": 0.99, "sparsity": 0.8}), 3)
        -0.1
    """

    def __init__(
        self,
        sparsity: float = 0.95,
        metric: str = "val_accuracy",
        metric_direction: str | None = None,
    ):
        super().__init__(metric, metric_direction)
        self.sparsity = check_sparsity(sparsity)

    def score(self, metrics: Metrics) -> float:
        """Return the quality, or the lack of sparsity as a negative number."""
        lacking = self.sparsity - metrics[SPARSITY]
        return -lacking if lacking > _ROUNDING else self.quality(metrics)


class SparsityWithinTolerance(SearchObjective):
    """The highest sparsity whose accuracy is within a tolerance of a dense network's.

    A network that is good enough scores its sparsity; any other one scores by how much
    it misses the tolerance, below 0.

    Args:
        reference: The dense network's metric, or a function that returns it when it is
            first needed.
        tolerance: How much worse than that is still good enough, in units of the
            metric. Defaults to 0.005, half a point of accuracy.
        metric: See `SearchObjective`.
        metric_direction: See `SearchObjective`.

    Example:
        >>> objective = SparsityWithinTolerance(0.98, tolerance=0.01)
        >>> objective.score({"val_accuracy": 0.972, "sparsity": 0.9})
        0.9
        >>> round(objective.score({"val_accuracy": 0.95, "sparsity": 0.99}), 3)
        -0.02
    """

    def __init__(
        self,
        reference: float | Callable[[], float],
        tolerance: float = 0.005,
        metric: str = "val_accuracy",
        metric_direction: str | None = None,
    ):
        super().__init__(metric, metric_direction)
        self.reference = reference
        self.tolerance = check_fraction(tolerance, "tolerance")

    def score(self, metrics: Metrics) -> float:
        """Return the sparsity, or what is missing to the tolerance, negative."""
        if callable(self.reference):
            self.reference = self.reference()
        worse = self.reference - self.value(metrics)
        if self.metric_direction == "min":
            worse = -worse
        excess = worse - self.tolerance
        return -excess if excess > 1e-9 else float(metrics[SPARSITY])


class ParetoFront(SearchObjective):
    """Accuracy and sparsity at once: the networks that no other one beats in both.

    A trial's own score is the product of its quality and its sparsity: the area that it
    dominates. That finds the knee of the front. `"bayesian"` search goes after the
    whole front: it weighs quality against sparsity anew for every trial (Knowles 2006,
    "ParEGO").

    Args:
        metric: See `SearchObjective`.
        metric_direction: See `SearchObjective`.

    Example:
        >>> objective = ParetoFront()
        >>> round(objective.score({"val_accuracy": 0.98, "sparsity": 0.95}), 3)
        0.931
    """

    def score(self, metrics: Metrics) -> float:
        """Return quality times sparsity."""
        return self.quality(metrics) * float(metrics[SPARSITY])

    def weighed(self, trials: Sequence[Metrics], weight: float) -> list[float]:
        """Return scores of all trials that favour quality by `weight`, in [0, 1].

        The augmented Tchebycheff scalarisation of what both lack of the best, each
        brought to [0, 1] over the trials: with a = w (1 - q) and b = (1 - w) (1 - s)
        the score is -max(a, b) - 0.05 (a + b).

        Args:
            trials: Metrics of the finished trials.
            weight: Weight w of quality.

        Example:
            >>> trials = [{"val_accuracy": 0.9, "sparsity": 0.5},
            ...           {"val_accuracy": 0.5, "sparsity": 0.9}]
            >>> first, second = ParetoFront().weighed(trials, weight=0.9)
            >>> first > second
            True
        """
        qualities = _to_unit([self.quality(metrics) for metrics in trials])
        sparsities = _to_unit([float(metrics[SPARSITY]) for metrics in trials])
        scores = []
        for quality, sparsity in zip(qualities, sparsities, strict=True):
            lacking = (weight * (1.0 - quality), (1.0 - weight) * (1.0 - sparsity))
            scores.append(-max(lacking) - 0.05 * sum(lacking))
        return scores


ObjectiveName = Literal[
    "accuracy_at_sparsity", "sparsity_within_tolerance", "pareto_front"
]

OBJECTIVES: dict[str, type[SearchObjective]] = {
    "accuracy_at_sparsity": AccuracyAtSparsity,
    "sparsity_within_tolerance": SparsityWithinTolerance,
    "pareto_front": ParetoFront,
}


def get(
    identifier: ObjectiveName | str | SearchObjective, **arguments: Any
) -> SearchObjective:
    """Return an objective by its name, or the one that is given.

    Args:
        identifier: `"accuracy_at_sparsity"`, `"sparsity_within_tolerance"`,
            `"pareto_front"` or an objective.
        **arguments: Arguments of its constructor.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> get("accuracy_at_sparsity", sparsity=0.9).sparsity
        0.9
    """
    if isinstance(identifier, SearchObjective):
        return identifier
    return OBJECTIVES[check_choice(identifier, "objective", OBJECTIVES)](**arguments)


def non_dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return which points no other one beats: as good in both, and better in one.

    Example:
        >>> non_dominated([(0.9, 0.5), (0.5, 0.9), (0.4, 0.9), (0.9, 0.5)])
        [True, True, False, True]
    """
    return [
        not any(
            other != point and other[0] >= point[0] and other[1] >= point[1]
            for other in points
        )
        for point in points
    ]


def _direction_of(metric: str) -> str:
    direction = keras_tuner.engine.metrics_tracking.infer_metric_direction(metric)
    if direction is None:
        raise ValueError(
            "`metric_direction` must be 'max' or 'min' for a metric whose name does "
            f"not tell. Received: metric={metric!r}"
        )
    return direction


def _to_unit(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    extent = high - low
    return [(value - low) / extent if extent else 0.0 for value in values]
