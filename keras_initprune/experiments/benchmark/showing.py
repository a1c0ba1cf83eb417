"""Shows figures: a table for the terminal, one for a page, and a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from tabulate import tabulate

from keras_initprune.experiments.benchmark.measurement import Measurement

Figures = Sequence[tuple[str, Measurement]]

_HEADERS = ("what", "against", "median", "from", "to", "goal")


def rich_table(figures: Figures, machine: str) -> Table:
    """Return the figures as a table for the terminal.

    Args:
        figures: Pairs of a measure's name and a measurement.
        machine: What they were measured on.
    """
    table = Table(
        title=f"Costs and savings as ratios ({machine})",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for header in _HEADERS:
        number = header in ("median", "from", "to")
        table.add_column(header, justify="right" if number else "left", no_wrap=number)
    for _, made in figures:
        table.add_row(*_cells(made))
    return table


def markdown(figures: Figures, machine: str, command: str) -> str:
    """Return the figures as a page.

    Args:
        figures: Pairs of a measure's name and a measurement.
        machine: What they were measured on.
        command: What made them.
    """
    rows = [_cells(made) for _, made in figures]
    table = tabulate(rows, _HEADERS, tablefmt="github", disable_numparse=True)
    return f"# Benchmark\n\n    {command}\n\n{machine}\n\n{table}\n"


def save_figure(figures: Figures, machine: str, path: Path) -> None:
    """Draw every ratio with its range and its goal.

    Args:
        figures: Pairs of a measure's name and a measurement.
        machine: What they were measured on.
        path: Image file to write.
    """
    made = [measurement for _, measurement in reversed(figures)]
    figure = Figure(figsize=(10, 1.2 + 0.3 * len(made)), layout="constrained")
    axes = figure.add_subplot()
    for row, one in enumerate(made):
        axes.plot([one.low, one.high], [row, row], color="0.7", linewidth=4)
        axes.plot(one.ratio, row, "o", color="C0", label="median" if row == 0 else None)
        goal = one.at_least if one.at_least is not None else one.at_most
        if goal is not None:
            axes.plot(goal, row, "|", color="C3", markersize=14)
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(made)), [f"{one.name} / {one.unit}" for one in made])
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("ratio: median, range of the pairs; red: goal")
    axes.set_title(machine, fontsize=7)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=110, format="png")
    temporary.replace(path)


def _cells(made: Measurement) -> list[str]:
    ratios = [f"{ratio:.2f}" for ratio in (made.ratio, made.low, made.high)]
    missed = " (missed)" if made.met is False else ""
    return [made.name, made.unit, *ratios, made.goal + missed]
