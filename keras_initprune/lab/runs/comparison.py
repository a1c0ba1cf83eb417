"""Plans the runs of a comparison, drives them, and writes what came out."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from matplotlib.figure import Figure
from rich.console import Console

from keras_initprune import plots
from keras_initprune.files import check_free, replacing, write_atomically
from keras_initprune.lab.runs import methods, runner
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.interrupts import Interrupted, Interrupts
from keras_initprune.lab.runs.progress import Progress, make_progress
from keras_initprune.lab.runs.results import Results
from keras_initprune.lab.runs.summary import completed, markdown

FIGURE_NAME = "error_against_sparsity.png"
TABLE_NAME = "results.md"


@dataclass(frozen=True)
class Comparison:
    """What a finished comparison leaves behind.

    Attributes:
        runs: The records of the folder, including those of earlier calls.
        paths: The files: results, table and figure; no figure if all runs failed.
    """

    runs: Sequence[dict[str, Any]]
    paths: tuple[Path, ...]


def plan(
    base: Configuration,
    names: Sequence[str],
    sparsities: Sequence[float],
    seeds: Sequence[int],
) -> list[Configuration]:
    """Return the runs of a comparison, seed by seed.

    Dense training has no sparsity, so it runs once per seed. The seeds go round in the
    outer loop: a comparison that is stopped early has compared all methods.

    Returns:
        The configurations, without repetitions.

    Raises:
        ValueError: If a name or a value is not valid, or there is nothing to run.

    Example:
        >>> from keras_initprune.lab.runs.configuration import configure
        >>> runs = plan(configure(), ["dense", "random"], [0.9, 0.98], [0, 1])
        >>> [(run.method, run.sparsity, run.seed) for run in runs[:3]]
        [('dense', 0.0, 0), ('random', 0.9, 0), ('random', 0.98, 0)]
    """
    for name, values in (
        ("methods", names), ("sparsities", sparsities), ("seeds", seeds)
    ):  # fmt: skip
        if not values:
            raise ValueError(f"`{name}` must not be empty. Received: {name}=[]")
    runs = [
        base.replace(method=name, sparsity=sparsity, seed=seed)
        for seed in seeds
        for name in names
        for sparsity in ([0.0] if name == "dense" else sparsities)
    ]
    return list(dict.fromkeys(runs))


def compare(
    configurations: Sequence[Configuration],
    out: str | Path,
    data_dir: str | Path | None = None,
    console: Console | None = None,
) -> Comparison:
    """Run what is not finished yet, then write the table and the figure.

    Every finished run is stored at once, so that calling this again after an
    interruption, or a crash, goes on where it stopped. A run whose network collapses or
    diverges is stored too, with the reason as its entry `failed`.

    Raises:
        ValueError: If a configuration is refused, or `out` holds other runs.
        OSError: If the data cannot be read, `out` cannot be written, or a table or
            figure of another making is there.
        Interrupted: After Ctrl-C.
    """
    results = Results(out)
    if not results.runs:  # Table and figure come after the first run.
        check_free([results.folder / name for name in (TABLE_NAME, FIGURE_NAME)])
    for configuration in configurations:
        results.check_same_comparison(configuration)
        methods.callbacks(configuration)  # It would be a pity to find out later.
    missing = [run for run in configurations if results.find(run) is None]
    console = Console() if console is None else console
    done = len(configurations) - len(missing)
    try:
        with make_progress(missing, done, console) as progress:
            _run_all(missing, results, data_dir, progress)
    except KeyboardInterrupt as interrupt:
        finished = sum(results.find(run) is not None for run in configurations)
        raise Interrupted(finished, len(configurations)) from interrupt
    written = write_summary(results.runs, results.folder)
    return Comparison(results.runs, (results.path, *written))


def write_summary(runs: Sequence[dict[str, Any]], folder: str | Path) -> list[Path]:
    """Write the table, and the figure if there is a run to draw; return their paths."""
    table, figure = Path(folder) / TABLE_NAME, Path(folder) / FIGURE_NAME
    write_atomically(table, markdown(runs))
    drawn = completed(runs)
    if not drawn:
        return [table]
    with replacing(figure) as temporary:
        axis = plots.error_against_sparsity(drawn)
        cast(Figure, axis.figure).savefig(temporary)
    return [table, figure]


def _run_all(
    configurations: Sequence[Configuration],
    results: Results,
    data_dir: str | Path | None,
    progress: Progress,
) -> None:
    data, seed = None, None
    for configuration in configurations:
        if data is None or configuration.seed != seed:
            data, seed = runner.load_data(configuration, data_dir), configuration.seed
        progress.start(configuration)
        with Interrupts() as interrupts:
            callbacks = [progress.callback(), interrupts.callback()]
            record = runner.attempt(configuration, data, callbacks)
            results.add(record)
            progress.finish(record)
            # A model and its functions refer to each other in circles.
            gc.collect()
            interrupts.check()
