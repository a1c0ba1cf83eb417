"""What a search leaves in its folder: table, figure, and the best network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from matplotlib.figure import Figure

from keras_initprune.files import replacing, write_atomically
from keras_initprune.lab.runs import runner
from keras_initprune.lab.search import summary
from keras_initprune.lab.search.settings import SearchSettings
from keras_initprune.tuner import front
from keras_initprune.tuner.results import SearchResults
from keras_initprune.tuner.tuners import PruningTuner

TRIALS_NAME, TABLE_NAME, FIGURE_NAME = "trials.json", "results.md", "front.png"
MODEL_NAME, BEST_NAME = "best.keras", "best.json"


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        results: The trials.
        dense: Metrics of the dense reference.
        best: The best trial: its record, callbacks and test result.
        paths: The files that were written.
        note: How the search ended, in a sentence.
    """

    results: SearchResults
    dense: Mapping[str, Any]
    best: Mapping[str, Any]
    paths: tuple[Path, ...]
    note: str


def conclude(
    tuner: PruningTuner,
    settings: SearchSettings,
    folder: Path,
    data: Any,
    dense: Mapping[str, Any],
) -> Outcome:
    """Test the best network and write everything; no file is ever half written.

    Args:
        tuner: The tuner, whose search is over.
        settings: What was searched.
        folder: Where to write.
        data: The data set.
        dense: Metrics of the dense reference.

    Raises:
        ValueError: If no trial was completed.
    """
    results = SearchResults(tuner)
    _write_json(folder / TRIALS_NAME, results.records)
    best = results.best()
    model = results.best_model()
    described = {
        **best,
        "meets_objective": results.meets_objective(best),
        # The test split is looked at here, once, for the network that was chosen.
        **runner.evaluate(model, "test", data.x_test, data.y_test, settings.run),
        "callbacks": results.describe_callbacks(),
        "dense": dense,
        "settings": settings.identity,
        "versions": runner.versions(),
    }
    write_atomically(folder / TABLE_NAME, summary.markdown(results, dense))
    axis = front.plot_front(results, dense)
    with replacing(folder / FIGURE_NAME) as temporary:
        cast(Figure, axis.figure).savefig(temporary)
    with replacing(folder / MODEL_NAME) as temporary:
        model.save(temporary)
    _write_json(folder / BEST_NAME, described)
    names = (TRIALS_NAME, TABLE_NAME, FIGURE_NAME, MODEL_NAME, BEST_NAME)
    paths = tuple(folder / name for name in names)
    return Outcome(results, dense, described, paths, _note(tuner, settings.trials))


def _note(tuner: PruningTuner, wanted: int) -> str:
    done = len(tuner.oracle.end_order)
    counted = f"{done} of {wanted} trials"
    if done >= wanted:
        return f"The search is over: {counted}."
    if tuner.oracle.has_only_failures:
        return f"The search gave up after {counted}: the last ones all failed."
    if tuner.oracle.is_stopped:
        return f"The time is over after {counted}. The same command goes on."
    return f"The search is over after {counted}: there is nothing else to try."


def _write_json(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")
