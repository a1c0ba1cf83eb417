"""Shows figures: a table for the terminal, one for a page, and a picture."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from rich.table import Table

from keras_initprune.files import replacing
from keras_initprune.lab.measurement import Measurement, Part
from keras_initprune.lab.terminal import make_table, markdown_table

Parts = Mapping[str, Part]

# What each measure is about, and whether its ratios should be small or large.
TITLES = {
    "masks": ("Training with masks, against dense: lower is better", False),
    "removing": ("Epochs with removals, against without: lower is better", False),
    "selection": ("Selecting among k masks: lower is better", False),
    "compaction": ("Compacted, against before: lower is better", False),
    "units": ("Whole filters removed, against dense: lower is better", False),
    "exports": ("Exported files, against dense ones: lower is better", False),
    "sparse": ("Dense against sparse execution, batch 64: higher is better", True),
    "break_even": ("Where sparse kernels begin to pay: higher is better", True),
    "end_to_end": ("Whole trainings, dense against sparse: higher is better", True),
}
_HEADERS = ("what", "against", "median", "from", "to", "goal")
_TEXTS = ("what", "against", "goal")
_ROW_INCHES = 0.21
_GOOD, _BAD = "#2a788e", "#c44e52"


def rich_table(parts: Parts) -> Table:
    """Return the figures as a table for the terminal."""
    title = f"Costs and savings as ratios ({_machines(parts)})"
    table = make_table(_HEADERS, folded=_TEXTS, title=title)
    for name, part in parts.items():
        table.add_row(TITLES[name][0], style="bold")
        for made in part.figures:
            table.add_row(*_cells(made))
    return table


def markdown(parts: Parts) -> str:
    """Return the figures as a page."""
    pages = [
        f"# Benchmark\n\n{_machines(parts)}. Medians of interleaved pairs; with one\n"
        "thread they are of processor time, which other programs change little.\n"
    ]
    for name, part in parts.items():
        table = markdown_table(
            [_cells(made) for made in part.figures], _HEADERS, _TEXTS
        )
        pages.append(f"## {TITLES[name][0]}\n\n    {part.command}\n\n{table}\n")
    return "\n".join(pages)


def save_figure(parts: Parts, path: Path) -> None:
    """Draw every ratio with its range and its goal, one panel for each measure."""
    rows = [len(part.figures) + 2.2 for part in parts.values()]
    figure = Figure(figsize=(9, 0.5 + _ROW_INCHES * sum(rows)), layout="constrained")
    panels = figure.subplots(
        len(rows), squeeze=False, gridspec_kw={"height_ratios": rows}
    )[:, 0]
    for axes, (name, part) in zip(panels, parts.items(), strict=True):
        _draw(axes, part, *TITLES[name])
    figure.supxlabel(
        "ratio, logarithmic: median and range of the pairs; | is the goal\n"
        + _machines(parts).replace("; ", "\n"),
        fontsize=7,
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", bbox_inches="tight")


def _draw(axes: Axes, part: Part, title: str, higher_is_better: bool) -> None:
    axes.axvline(1, color="0.4", linewidth=0.8)
    for row, made in enumerate(part.figures):
        better = made.ratio >= 1 if higher_is_better else made.ratio <= 1
        color = _GOOD if better else _BAD
        axes.plot([made.low, made.high], [row, row], color=color, alpha=0.3, lw=5)
        axes.plot(made.ratio, row, "o", color=color, markersize=5)
        goal = made.at_least if made.at_least is not None else made.at_most
        if goal is not None:
            axes.plot(goal, row, "|", color="black", markersize=11, markeredgewidth=1.5)
        label = f"{made.ratio:.2f}"
        axes.annotate(
            label, (1.01, row), xycoords=("axes fraction", "data"), va="center", size=7
        )
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), max(high, 2))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    labels = [f"{made.name} / {made.unit}" for made in part.figures]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(part.figures) - 0.4, -0.6)
    axes.tick_params(labelsize=7)
    axes.tick_params(axis="y", length=0)
    # To the right there is room for long ones: labels begin far to the left.
    axes.set_title(title, loc="right", fontsize=9, fontweight="bold")
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _machines(parts: Parts) -> str:
    return "; ".join(dict.fromkeys(part.machine for part in parts.values()))


def _cells(made: Measurement) -> list[str]:
    ratios = [f"{ratio:.2f}" for ratio in (made.ratio, made.low, made.high)]
    missed = " (missed)" if made.met is False else ""
    return [made.name, made.unit, *ratios, made.goal + missed]
