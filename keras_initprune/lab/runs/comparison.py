"""Plans the runs of a comparison, drives them, writes and shows what came out."""

import gc
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from keras_initprune import plots
from keras_initprune.files import check_free, replacing, write_atomically
from keras_initprune.lab.runs import methods, runner
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.progress import Interrupted, Interrupts, Progress
from keras_initprune.lab.runs.results import Results
from keras_initprune.lab.terminal import make_table, markdown_table, percent
from keras_initprune.plots.errors import Measure, measure_of
from keras_initprune.plots.intervals import mean_and_half_width

FIGURE_NAME = "error_against_sparsity.png"
TABLE_NAME = "results.md"
_HEADERS = ("sparse", "method", "mean ± 95 %", "vs dense", "counted", "time")
_NOTE = (
    '"vs dense" is the mean difference to the dense runs of the same seeds, with its '
    '95 % interval; "counted" is the share of zeros among the trained weights.'
)


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
    given = {"methods": names, "sparsities": sparsities, "seeds": seeds}
    for name, values in given.items():
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
        with Progress(missing, done, console) as progress:
            _run_all(missing, results, data_dir, progress)
    except KeyboardInterrupt as interrupt:
        finished = sum(results.find(run) is not None for run in configurations)
        raise Interrupted(finished, len(configurations)) from interrupt
    written = write_summary(results.runs, results.folder)
    return Comparison(results.runs, (results.path, *written))


def write_summary(runs: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Write the table, and the figure if there is a run to draw; return their paths."""
    paths = [folder / TABLE_NAME]
    write_atomically(paths[0], markdown(runs))
    if drawn := completed(runs):
        paths.append(folder / FIGURE_NAME)
        save_figure(plots.error_against_sparsity(drawn), paths[1])
    return paths


def save_figure(axis: Axes, path: Path, **options: Any) -> None:
    """Write the figure that an axis is of; the file is never half written."""
    with replacing(path) as temporary:
        cast(Figure, axis.figure).savefig(temporary, **options)


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


@dataclass(frozen=True)
class Summary:
    """One method at one sparsity, over its seeds.

    Attributes:
        method: Name of the method.
        sparsity: The sparsity that was asked for.
        achieved_sparsity: The mean of what was counted.
        seeds: Number of runs.
        mean: Mean of the test measure.
        half_width: Half-width of its 95 % interval; NaN for one seed.
        difference: Mean paired difference to the dense runs of the same seeds; NaN
            where there are none.
        difference_half_width: Half-width of its 95 % interval; NaN below two pairs.
        seconds: Mean time of a run.
    """

    method: str
    sparsity: float
    achieved_sparsity: float
    seeds: int
    mean: float
    half_width: float
    difference: float
    difference_half_width: float
    seconds: float


def completed(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs that came to an end, and so have measures.

    Example:
        >>> completed([{"failed": "The loss became nan."}, {"test_error": 0.02}])
        [{'test_error': 0.02}]
    """
    return [run for run in runs if "failed" not in run]


def failures(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for every run that failed, with the reason.

    Example:
        >>> run = {"method": "snip", "sparsity": 0.99, "seed": 0, "failed": "No path."}
        >>> failures([run])
        ['snip at 99 %, seed 0, failed: No path.']
    """
    return [
        f"{run['method']} at {percent(run['sparsity'], digits=6)}, "
        f"seed {run['seed']}, failed: {run['failed']}"
        for run in runs
        if "failed" in run
    ]


def summarise(runs: Sequence[dict[str, Any]]) -> list[Summary]:
    """Return a summary per sparsity, rising, and method, in the order of `METHODS`.

    Raises:
        ValueError: If the runs have no common measure.
    """
    key = measure_of(runs).key
    order = list(methods.METHODS)
    groups: dict[tuple[float, int, str], list[dict[str, Any]]] = {}
    for run in runs:
        method = run["method"]
        place = order.index(method) if method in order else len(order)
        groups.setdefault((run["sparsity"], place, method), []).append(run)
    dense = {run["seed"]: run[key] for run in runs if run["method"] == "dense"}
    return [_summary(groups[group], key, dense) for group in sorted(groups)]


def _summary(
    runs: Sequence[dict[str, Any]], key: str, dense: dict[int, float]
) -> Summary:
    mean, half_width = mean_and_half_width([run[key] for run in runs])
    difference = difference_half_width = math.nan
    pairs = [run[key] - dense[run["seed"]] for run in runs if run["seed"] in dense]
    if pairs and runs[0]["method"] != "dense":
        difference, difference_half_width = mean_and_half_width(pairs)
    return Summary(
        method=runs[0]["method"],
        sparsity=runs[0]["sparsity"],
        achieved_sparsity=fmean(run["achieved_sparsity"] for run in runs),
        seeds=len(runs),
        mean=mean,
        half_width=half_width,
        difference=difference,
        difference_half_width=difference_half_width,
        seconds=fmean(run["seconds"] for run in runs),
    )


def rich_table(runs: Sequence[dict[str, Any]]) -> Table:
    """Return the summary as a table for the terminal, the best of a sparsity in bold.

    It fits 80 columns.

    Raises:
        ValueError: If no run was completed.
    """
    runs = completed(runs)
    title, caption = _title(runs), _caution(runs)
    table = make_table(_HEADERS, left=("method",), title=title, caption=caption)
    for lines in _lines(runs):
        for cells, is_best in lines:
            table.add_row(*cells, style="bold" if is_best else None)
        table.add_section()
    return table


def markdown(runs: Sequence[dict[str, Any]]) -> str:
    """Return the summary as Markdown: a table, and a line for every run that failed."""
    parts: list[str | None] = []
    if found := completed(runs):
        rows = []
        for cells, is_best in itertools.chain(*_lines(found)):
            if is_best:
                cells[2] = f"**{cells[2]}**"
            rows.append(cells)
        table = markdown_table(rows, _HEADERS, left=("method",))
        parts = [_title(found), table, _caution(found), _NOTE]
    return "\n\n".join([*filter(None, parts), *failures(runs)]) + "\n"


def _title(runs: Sequence[dict[str, Any]]) -> str:
    label, first = measure_of(runs).label, runs[0]
    seeds = len({run["seed"] for run in runs})
    return (
        f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: {label}, "
        f"{seeds} seed{'' if seeds == 1 else 's'}"
    )


def _caution(runs: Sequence[dict[str, Any]]) -> str | None:
    """Return what to know about a data set that is too small."""
    if runs[0]["dataset"] != "digits":
        return None
    return (
        "digits has 360 test images, too few to rank methods: mnist and fashion_mnist "
        "have 10,000."
    )


def _lines(runs: Sequence[dict[str, Any]]) -> list[list[tuple[list[str], bool]]]:
    """Return the lines of every sparsity, each with whether its mean is the lowest."""
    measure, groups = measure_of(runs), []
    for _, found in itertools.groupby(summarise(runs), lambda each: each.sparsity):
        summaries = list(found)
        best = min(summaries, key=lambda each: each.mean)
        has_rivals = len(summaries) > 1
        groups.append(
            [(_cells(each, measure), has_rivals and each is best) for each in summaries]
        )
    return groups


def _cells(summary: Summary, measure: Measure) -> list[str]:
    return [
        percent(summary.sparsity),
        summary.method,
        measure.show(summary.mean, summary.half_width),
        measure.show(summary.difference, summary.difference_half_width, sign="+"),
        percent(summary.achieved_sparsity, digits=3),
        f"{summary.seconds:.1f} s",
    ]
