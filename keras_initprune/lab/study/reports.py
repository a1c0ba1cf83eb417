"""Turns the runs of a study into one page of tables and figures.

A report is a function from a part and its finished runs to paragraphs of Markdown, and
a row in `_REPORTS`; it may leave figures in the folder.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from keras_initprune import plots
from keras_initprune.arrays.curves import CHANGES_PER_EPOCH, power_for, power_sparsity
from keras_initprune.files import write_atomically
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.comparison import completed, failures, save_figure
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.study import pivot
from keras_initprune.lab.study.engine import StudyResults
from keras_initprune.lab.study.plan import Part, Study
from keras_initprune.lab.terminal import markdown_table, percent
from keras_initprune.plots.errors import Measure, measure_of
from keras_initprune.plots.intervals import mean_and_half_width
from keras_initprune.plots.style import GREY, add_legend, method_styles

PAGE_NAME = "results.md"
_OURS = ("dissipating_gradients", "combination")
_PCA_COMPONENTS = 16  # As many as the autoencoder's bottleneck has units.


@dataclass(frozen=True)
class _Material:
    """What a report is made of: the part, its runs, and where figures go."""

    part: Part
    runs: Sequence[Mapping[str, Any]]
    folder: Path
    data_dir: str | Path | None

    @property
    def measure(self) -> Measure:
        return measure_of(self.runs)

    def figure(self, axis: Axes, name: str) -> str:
        file = f"{self.part.name}-{name}.png"
        save_figure(axis, self.folder / file, dpi=150, bbox_inches="tight")
        words = name.replace("_", " ").replace("-", " ")
        return f"![{self.part.title}: {words}]({file})"


def write_reports(
    study: Study,
    results: StudyResults,
    folder: str | Path,
    data_dir: str | Path | None = None,
) -> list[Path]:
    """Write `results.md` with a table for every part that has runs, and the figures.

    `data_dir` has the data for the comparison with PCA. Returns the paths of the files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob("*.png"))
    sections = [f"# {study.title}", _NOTE]
    for part in study.parts:
        found = [record for run in part.runs if (record := results.find(run))]
        runs = completed(found)
        if runs:
            sections.append(_section(_Material(part, runs, folder, data_dir)))
        sections += failures(found)
    page = folder / PAGE_NAME
    write_atomically(page, "\n\n".join(sections) + "\n")
    return [page, *sorted(set(folder.glob("*.png")) - before)]


_NOTE = (
    "Means over seeds with 95 % t-intervals; no interval where there is one seed. The "
    "lowest mean of a column is bold. The test split was used for these numbers alone."
)


def _section(material: _Material) -> str:
    part, runs, measure = material.part, material.runs, material.measure
    seeds = len({run["seed"] for run in runs})
    first = runs[0]["settings"]
    about = (
        f"{first['dataset']}, {first['model']}, {first['epochs']} epochs; "
        f"{len(runs)} of {len(part.runs)} runs, {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}: {measure.label}."
    )
    table = pivot.table(part, runs, measure)
    reports = [text for name in part.reports for text in _REPORTS[name](material)]
    return "\n\n".join([f"## {part.title}", about, table, *reports])


def _error_against_sparsity(material: _Material) -> list[str]:
    axis = plots.error_against_sparsity(material.runs)
    if "pca" in material.part.reports:
        error, _ = _pca_of(material.part.runs[0], material.data_dir)
        error *= material.measure.factor
        axis.axhline(error, color=GREY, linestyle=":", label="PCA")
        add_legend(axis, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return [material.figure(axis, "error")]


def _dots(material: _Material) -> list[str]:
    part, measure = material.part, material.measure
    rows = {
        _pretty(", ".join(row)): {
            pivot.label(part.columns, column): [
                measure.factor * run[measure.key] for run in runs
            ]
            for column, runs in columns.items()
        }
        for row, columns in pivot.pivot(part, material.runs).items()
    }
    axis = plots.interval_dots(rows, measure.label.capitalize())
    return [material.figure(axis, "dots")]


def _lines(material: _Material) -> list[str]:
    part = material.part
    cells = pivot.pivot(part, material.runs)
    groups = {", ".join(row): columns for row, columns in cells.items()}
    label, is_k = part.columns.replace("_", " "), part.columns == "k"
    axis = plots.error_against(groups, label, logarithmic=is_k)
    return [material.figure(axis, "lines")]


def _paired(material: _Material) -> list[str]:
    """Compare the paper's methods with every other one, seed by seed."""
    return [text for ours in _OURS for text in _paired_with(ours, material)]


def _paired_with(ours: str, material: _Material) -> list[str]:
    measure = material.measure
    by_run = {
        (run["method"], run["sparsity"], run["seed"]): measure.factor * run[measure.key]
        for run in sorted(material.runs, key=lambda run: run["sparsity"])
    }
    methods = dict.fromkeys(run["method"] for run in material.runs)
    found = []
    for (name, sparsity, seed), value in by_run.items():
        for method in methods:
            rival = (method, 0.0 if method == "dense" else sparsity, seed)
            if name == ours != method and rival in by_run:
                found.append((method, percent(sparsity), value - by_run[rival]))
    differences = _grouped(found)
    if not differences:
        return []
    columns = list(dict.fromkeys(c for of in differences.values() for c in of))
    shown = Measure(1.0, measure.digits)
    lines = []
    for method, of_method in differences.items():
        line = [method]
        for column in columns:
            text = ""
            if pairs := of_method.get(column):
                ahead = sum(difference < 0 for difference in pairs)
                text = shown.show(*mean_and_half_width(pairs), sign="+")
                text += f" ({ahead} of {len(pairs)})"
            line.append(text)
        lines.append(line)
    label = f"{_pretty(ours)} minus the other, {measure.label}"
    rows = {_pretty(method): of for method, of in differences.items()}
    axis = plots.interval_dots(rows, label, reference=0.0)
    return [
        f"`{ours}` minus each method, in pairs of the same seed (below 0: "
        f"`{ours}` is ahead), and in how many pairs it is ahead:",
        _markdown(lines, ["method", *columns]),
        material.figure(axis, f"paired-{ours}"),
    ]


def _effective_sparsity(material: _Material) -> list[str]:
    runs = [run for run in material.runs if run["achieved_sparsity"]]
    if not runs:
        return []
    wasted = _grouped(
        (
            _pretty(run["method"]),
            percent(run["sparsity"]),
            100 * (run["effective_sparsity"] - run["achieved_sparsity"]),
        )
        for run in sorted(runs, key=lambda run: run["sparsity"])
    )
    label = "Effective minus nominal sparsity (points)"
    shown = Measure(100.0, 3, "effective_sparsity")
    return [
        "Effective sparsity in %, which also counts weights on dead paths as "
        "removed (the lowest is bold, which means the fewest wasted):",
        pivot.table(material.part, runs, shown),
        material.figure(plots.interval_dots(wasted, label), "effective"),
    ]


def _price(material: _Material) -> list[str]:
    """Return what an epoch of the selection takes, against later ones of the run."""
    found = []
    for run in material.runs:
        end = sum(callback.get("epochs", 0) for callback in run["callbacks"])
        # The first epoch of either phase is the one in which Keras compiles.
        during, later = run["epoch_seconds"][1:end], run["epoch_seconds"][end + 1 :]
        if during and later:
            ratio = float(np.median(during) / np.median(later))
            found.append((run["method"], "", ratio))
    if not found:
        return []
    ratios = _grouped(found)
    lines = [
        [name, *(f"{q:.2f}" for q in np.quantile(of[""], (0.5, 0.25, 0.75)))]
        for name, of in ratios.items()
    ]
    rows = {_pretty(name): of for name, of in ratios.items()}
    label = "Time of an epoch of the selection / of a later epoch"
    return [
        "Time of an epoch of the selection against a later epoch of the same run, "
        "which has its masks but selects no more; without the epochs in which "
        "Keras compiles, over all sparsities and seeds:",
        _markdown(lines, ["method", "median", "lower quartile", "upper quartile"]),
        material.figure(plots.interval_dots(rows, label, 1.0), "price"),
    ]


def _training_density(material: _Material) -> list[str]:
    """Return what a training costs where zeros are skipped, against its error."""
    runs = [
        {**run, "density": 100 * mean_density(run)}
        for run in material.runs
        if run["achieved_sparsity"]
    ]
    shown = Measure(1.0, 2, "density")
    return [
        "Mean density of the whole training in %, the area under the density curve "
        "(the lowest is bold):",
        pivot.table(material.part, runs, shown),
        material.figure(plots.error_against_density(runs), "density"),
    ]


def mean_density(run: Mapping[str, Any]) -> float:
    """Return the mean fraction of weights alive over a training.

    By the callback's schedule: weights that have just restarted are zeros, so that the
    zeros at the ends of epochs do not tell.

    Raises:
        ValueError: If it is neither `Combination` nor a method of constant density.
    """
    [callback] = run["callbacks"]
    sparsity, epochs = run["achieved_sparsity"], run["settings"]["epochs"]
    if callback["callback"] in ("RandomPruning", "RigL", "SET"):
        return float(1.0 - sparsity)
    if callback["callback"] != "Combination":
        raise ValueError(
            "The mean density of a training is known of `Combination`, RigL, SET and "
            f"random pruning. Received: {callback['callback']}"
        )
    start, power = callback["start_sparsity"], callback["curve"]
    if power == "auto":
        power = power_for(callback["epochs"] * run["steps_per_epoch"])
    changes = CHANGES_PER_EPOCH * callback["epochs"]
    removed = [
        power_sparsity(start, sparsity, change / changes, power)
        for change in range(changes)
    ]
    later = sparsity * (epochs - callback["epochs"])
    return float(1.0 - (sum(removed) / CHANGES_PER_EPOCH + later) / epochs)


def _rank_correlation(material: _Material) -> list[str]:
    runs, measure = material.runs, material.measure
    if len(runs) < 2:
        return []
    errors = [measure.factor * run[measure.key] for run in runs]
    lines, notes = [], {}
    for name in runs[0]["mask_fitness"]:
        fitness = [run["mask_fitness"][name] for run in runs]
        correlation, p_value = stats.spearmanr(fitness, errors)
        low, high = _fisher_interval(float(correlation), len(runs))
        spread = f"{100 * np.std(fitness, ddof=1) / np.mean(fitness):.2f} %"
        shown, interval = f"{correlation:+.2f}", f"[{low:+.2f}, {high:+.2f}]"
        notes[name] = f"Spearman {shown} {interval}"
        lines.append([name, shown, interval, f"{p_value:.2f}", spread])
    first = next(iter(notes))
    axis = plots.fitness_against_error(
        [run["mask_fitness"][first] for run in runs],
        errors,
        f"Fitness of the mask ({first})",
        notes[first],
    )
    headers = ["fitness", "Spearman", "95 % interval", "p", "spread of fitness"]
    return [
        f"Rank correlation of fitness and test error over {len(runs)} masks of one "
        "network (below 0: fitter masks end better); the spread is the standard "
        "deviation over the mean:",
        _markdown(lines, headers),
        material.figure(axis, "fitness"),
    ]


def _fisher_interval(correlation: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a rank correlation (Fisher 1915; Bonett 2000)."""
    if count < 4 or abs(correlation) == 1:
        return float("nan"), float("nan")
    width = 1.96 * np.sqrt((1 + correlation**2 / 2) / (count - 3))
    centre = np.arctanh(correlation)
    return float(np.tanh(centre - width)), float(np.tanh(centre + width))


def _pca(material: _Material) -> list[str]:
    error, size = _pca_of(material.part.runs[0], material.data_dir)
    return [
        f"PCA with {_PCA_COMPONENTS} components, as many as the bottleneck has units, "
        f"comes to {material.measure.factor * error:.2f} with {size:,} numbers."
    ]


@functools.cache
def _pca_of(run: Configuration, data_dir: str | Path | None) -> tuple[float, int]:
    """Return PCA's error on the images of a run, and how many numbers it has."""
    from sklearn.decomposition import PCA

    data = runner.load_data(run, data_dir)
    train, test = (x.reshape(len(x), -1) for x in (data.x_train, data.x_test))
    pca = PCA(_PCA_COMPONENTS, random_state=0).fit(train)
    found = pca.inverse_transform(pca.transform(test))
    return float(np.mean((found - test) ** 2)), pca.components_.size


def _grouped(
    values: Iterable[tuple[str, str, float]],
) -> dict[str, dict[str, list[float]]]:
    """Return values by their first and second names."""
    groups: dict[str, dict[str, list[float]]] = {}
    for row, column, value in values:
        groups.setdefault(row, {}).setdefault(column, []).append(value)
    return groups


def _pretty(name: str) -> str:
    return method_styles([name])[name].label


def _markdown(lines: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return markdown_table(lines, headers, left=headers[:1])


_REPORTS: dict[str, Callable[[_Material], list[str]]] = {
    "error_against_sparsity": _error_against_sparsity,
    "lines": _lines,
    "dots": _dots,
    "paired": _paired,
    "rank_correlation": _rank_correlation,
    "price": _price,
    "training_density": _training_density,
    "effective_sparsity": _effective_sparsity,
    "pca": _pca,
}
