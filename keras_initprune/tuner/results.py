"""What a search found: every trial, the Pareto front, and the best network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner

from keras_initprune.callbacks import checks
from keras_initprune.imports import needs
from keras_initprune.tuner.objectives import SPARSITY, SearchObjective, non_dominated
from keras_initprune.tuner.oracles import metrics_of, reason_of
from keras_initprune.tuner.space import PREFIX
from keras_initprune.tuner.tuners import PruningTuner

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


_HYPERBANDS = "tuner/"  # What Hyperband notes among the hyperparameters.

# In a table of trials these are the row's name, or columns of their own.
_NOT_COLUMNS = ("trial", "hyperparameters", "metrics")

Record = dict[str, Any]


class SearchResults:
    """The trials of a search as plain records, and the networks behind them.

    Args:
        tuner: A tuner whose search has ended, or one that was made again for its
            folder; not that of a worker, which does not know the other ones' trials.

    Attributes:
        tuner: The tuner.
        records: One per trial, in the order of their names: `trial`, `status`
            (`"completed"`, `"failed"` or `"running"`), `reason` (why it failed, or
            None), `hyperparameters`, `description` (what was searched, in words),
            `metrics`, `score`, and `front`, whether no other trial beats it in both
            metric and sparsity.

    Raises:
        ValueError: If the tuner is a worker's.

    Example:
        >>> import tempfile
        >>> from keras_initprune.tuner import PruningHyperModel
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        ...     model.compile("adam", "mse", metrics=["accuracy"])
        ...     return model
        >>> hypermodel = PruningHyperModel(build)
        >>> tuner = PruningTuner(hypermodel, directory=tempfile.mkdtemp())
        >>> SearchResults(tuner).records  # before `tuner.search`
        []
    """

    def __init__(self, tuner: PruningTuner):
        if tuner.role == "worker":
            raise ValueError(
                "`tuner` must be that of the chief, or of a search in one process. "
                "Received: the tuner of a worker"
            )
        self.tuner = tuner
        trials = sorted(tuner.oracle.trials.items())
        self.records: list[Record] = [_record(trial) for _, trial in trials]
        completed = self.completed
        points = [
            (self.objective.quality(record["metrics"]), record["metrics"][SPARSITY])
            for record in completed
        ]
        for record, front in zip(completed, non_dominated(points), strict=True):
            record["front"] = front

    @property
    def objective(self) -> SearchObjective:
        """What the search looked for."""
        return self.tuner.oracle.objective

    @property
    def completed(self) -> list[Record]:
        """The records of the trials that have a score."""
        return [record for record in self.records if record["status"] == "completed"]

    @property
    def failed(self) -> list[Record]:
        """The records of the trials that failed."""
        return [record for record in self.records if record["status"] == "failed"]

    def front(self) -> list[Record]:
        """Return the records of the Pareto front, from dense to sparse."""
        front = [record for record in self.completed if record["front"]]
        return sorted(front, key=lambda record: record["metrics"][SPARSITY])

    def best(self) -> Record:
        """Return the record with the best score.

        Raises:
            ValueError: If no trial was completed; it says why.
        """
        if not self.completed:
            reasons = [record["reason"] for record in self.failed]
            raise ValueError(
                "No trial was completed. "
                + (f"The last one failed: {reasons[-1]}" if reasons else "None began.")
            )
        return max(self.completed, key=self._rank)

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the trials as a table: a row for each, by its name.

        Hyperparameters and metrics are columns under their own names. What a trial has
        none of is missing.

        Raises:
            ImportError: If pandas is not installed.
        """
        with needs("pandas"):
            import pandas
        rows = [
            {
                **{k: v for k, v in record.items() if k not in _NOT_COLUMNS},
                **record["hyperparameters"],
                **record["metrics"],
            }
            for record in self.records
        ]
        names = pandas.Index([record["trial"] for record in self.records], name="trial")
        return pandas.DataFrame(rows, index=names)

    def meets_objective(self, record: Record) -> bool:
        """Return whether a network is sparse, or accurate, enough for the objective."""
        return record["score"] >= 0

    def best_model(self, record: Record | None = None) -> keras.Model:
        """Return a trial's network as it was at its end.

        Its masks and constraints are in place: it stays sparse when it is trained on.

        Args:
            record: Which trial. Defaults to None: the best.
        """
        return self.tuner.load_model(self._trial(record))

    def callbacks(self, record: Record | None = None) -> list[keras.callbacks.Callback]:
        """Return new callbacks that repeat a trial's pruning.

        Args:
            record: Which trial. Defaults to None: the best.
        """
        hyperparameters = self._trial(record).hyperparameters
        return self.tuner.hypermodel.callbacks(hyperparameters.copy())

    def describe_callbacks(self, record: Record | None = None) -> list[dict[str, Any]]:
        """Return the names and arguments of `callbacks` as plain values."""
        return [checks.describe(callback) for callback in self.callbacks(record)]

    def _trial(self, record: Record | None) -> Any:
        chosen = self.best() if record is None else record
        return self.tuner.oracle.trials[chosen["trial"]]

    def _rank(self, record: Record) -> tuple[float, float]:
        metrics = record["metrics"]
        # Among equals the better in both.
        return record["score"], self.objective.quality(metrics) + metrics[SPARSITY]


def describe(hyperparameters: keras_tuner.HyperParameters, *without: str) -> str:
    """Return the values that were searched in one line.

    Example:
        >>> hp = keras_tuner.HyperParameters()
        >>> hp.Choice("pruning/method", ["k_starts", "random"]), hp.Choice("units", [8])
        ('k_starts', 8)
        >>> describe(hp)
        'k_starts, units 8'
    """
    fixed = {
        each.name
        for each in hyperparameters.space
        if type(each).__name__ == "Fixed" and each.name != PREFIX + "method"
    }
    words = []
    for name, value in hyperparameters.values.items():
        if name in fixed or name in without or name.startswith(_HYPERBANDS):
            continue
        if not hyperparameters.is_active(name):
            continue  # In a worker those have values, too.
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        name = name.removeprefix(PREFIX)
        words.append(shown if name == "method" else f"{name.replace('_', ' ')} {shown}")
    return ", ".join(words)


def _record(trial: Any) -> Record:
    status = trial.status.lower()
    return {
        "trial": trial.trial_id,
        "status": status if status in ("completed", "failed") else "running",
        "reason": reason_of(trial) if status == "failed" else None,
        "hyperparameters": {
            name: value
            for name, value in trial.hyperparameters.values.items()
            if not name.startswith(_HYPERBANDS)
        },
        "description": describe(trial.hyperparameters, PREFIX + "sparsity"),
        "metrics": metrics_of(trial) if status == "completed" else {},
        "score": None if trial.score is None else float(trial.score),
        "front": False,
    }


def plot_front(
    results: SearchResults,
    dense: Mapping[str, Any] | None = None,
    axis: "Axes | None" = None,
) -> "Axes":
    """Draw the trials with the Pareto front marked, see `plots.pareto_front`.

    Args:
        results: The results; at least one trial was completed.
        dense: Metrics of the dense reference, such as the last ones of its `history`.
            Defaults to None.
        axis: Where to draw. Defaults to a new figure.
    """
    from keras_initprune import plots

    objective, best = results.objective, results.best()
    is_share = objective.metric_direction == "max"
    factor = 100.0 if is_share else 1.0
    records = [
        {
            "sparsity": record["metrics"][SPARSITY],
            "value": factor * objective.value(record["metrics"]),
            "front": record["front"],
            "best": record is best,
        }
        for record in results.completed
    ]
    name = objective.metric.removeprefix("val_").replace("_", " ")
    split = "Validation " if objective.metric.startswith("val_") else ""
    return plots.pareto_front(
        records,
        None if dense is None else factor * objective.value(dense),
        f"{split}{name}{' (%)' if is_share else ''}".capitalize(),
        lower_is_better=not is_share,
        axis=axis,
    )
