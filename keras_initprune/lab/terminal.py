"""What the laboratory shows on a terminal: lines, tables, bars with the time left."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import rich.progress
from rich import box
from rich.console import Console
from rich.table import Column, Table


def say(console: Console, line: str) -> None:
    """Print a line as it is, however long."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def say_written(console: Console, paths: Iterable[Path]) -> None:
    """Say which files were written."""
    for path in paths:
        say(console, f"Wrote {path}")


def make_table(
    headers: Sequence[str],
    left: Collection[str] = (),
    folded: Collection[str] = (),
    **options: Any,
) -> Table:
    """Return a table without rows, whose columns hold numbers unless said otherwise.

    Args:
        headers: The columns' names.
        left: Those of them whose cells stand at the left.
        folded: Those whose cells may take several lines, at the left too.
        **options: What `rich.table.Table` takes, such as `title` and `caption`.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        caption_justify="left",
        **options,
    )
    for header in headers:
        table.add_column(
            header,
            justify="left" if header in (*left, *folded) else "right",
            no_wrap=header not in folded,
            overflow="fold" if header in folded else "ellipsis",
        )
    return table


def make_bar(console: Console, speed_estimate_period: float) -> rich.progress.Progress:
    """Return a bar with the time left, whose tasks have a field `counted`."""
    return rich.progress.Progress(
        rich.progress.TextColumn(
            "{task.fields[counted]}", table_column=Column(no_wrap=True)
        ),
        rich.progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        rich.progress.TaskProgressColumn(table_column=Column(no_wrap=True)),
        rich.progress.TimeRemainingColumn(table_column=Column(no_wrap=True)),
        # A long description gives way, so that the bar and the time left stay.
        rich.progress.TextColumn(
            "{task.description}",
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=2),
        ),
        console=console,
        transient=True,
        expand=True,
        speed_estimate_period=speed_estimate_period,
    )


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are any.

    Example:
        >>> clock(75), clock(3675)
        ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    )
