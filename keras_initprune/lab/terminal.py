"""What the laboratory shows: lines, tables, in Markdown too, and bars.

Its console loses nothing where lines are short or letters are few.
"""

import codecs
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import rich.progress
import tabulate
from rich import box
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

PLAIN = "initprune_plain"
"""Name of the error handler that writes what an encoding has no letter for."""

_PLAIN_LETTERS = {"±": "+-", "…": "..."}
# A column whose cells may be folded is legible from here on.
_LEAST_FOLDED = 8


def _write_plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    # In the worst case as Python escapes it.
    plain = [_PLAIN_LETTERS.get(letter, ascii(letter)[1:-1]) for letter in letters]
    return "".join(plain), error.end


codecs.register_error(PLAIN, _write_plainly)


class Console(RichConsole):
    """Rich's console, with plain letters where needed, and without cut tables.

    A table that is too wide is shown row by row, a line for each cell. Square brackets
    are not markup: they stand in paths and names.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(markup=False, **arguments)

    def render_str(self, text: str, **arguments: Any) -> Text:
        """Return text that the encoding has letters for, so that its width is right."""
        plain = text.encode(self.encoding, PLAIN).decode(self.encoding)
        return super().render_str(plain, **arguments)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render a table row by row if it is too wide."""
        options = options or self.options
        if (
            isinstance(renderable, Table)
            and renderable.show_header  # Progress bars are tables without.
            and self._needed(renderable) > options.max_width
        ):
            renderable = Group(*self._lines(renderable))
        return super().render(renderable, options)

    def _needed(self, table: Table) -> int:
        # Rich draws a line, or leaves it blank, between two columns.
        between = sum(table.padding[1::2]) + (table.box is not None)
        return sum(self._needed_by(column) + between for column in table.columns) - 1

    def _needed_by(self, column: Column) -> int:
        cells = (column.header, *column.cells)
        width = max(self._text(cell).cell_len for cell in cells)
        return width if column.no_wrap else min(width, _LEAST_FOLDED)

    def _lines(self, table: Table) -> Iterator[Text]:
        if table.title:
            yield self._text(table.title)
            yield Text()
        names = [self._text(column.header) for column in table.columns]
        rows = zip(*(column.cells for column in table.columns), strict=True)
        for row, cells in zip(table.rows, rows, strict=True):
            for name, cell in zip(names, map(self._text, cells), strict=True):
                if cell:
                    colon = Text(": " if name else "")
                    yield Text(style=row.style or "").append_text(name + colon + cell)
            yield Text()
        if table.caption:
            yield self._text(table.caption)

    def _text(self, cell: RenderableType) -> Text:
        return cell if isinstance(cell, Text) else self.render_str(str(cell))


def say(console: RichConsole, line: str) -> None:
    """Print a line as it is, however long."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def say_written(console: RichConsole, paths: Iterable[Path]) -> None:
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


def markdown_table(
    lines: Sequence[Sequence[str]], headers: Sequence[str], left: Collection[str]
) -> str:
    """Return lines of text as a Markdown table, columns of numbers to the right.

    Example:
        >>> print(markdown_table([["snip", "4.34"]], ["method", "98 %"], ["method"]))
        | method   |   98 % |
        |----------|--------|
        | snip     |   4.34 |
    """
    return tabulate.tabulate(
        lines,
        headers,
        tablefmt="github",
        colalign=["left" if header in left else "right" for header in headers],
        disable_numparse=True,
    )


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction as a percentage without trailing zeros.

    Example:
        >>> percent(0.95), percent(0.995)
        ('95 %', '99.5 %')
        >>> percent(-1e-9)
        '0 %'
    """
    return f"{round(100 * fraction, digits):zg} %"


def has_bars(console: RichConsole) -> bool:
    """Return whether progress is shown as a bar: on a terminal and in a notebook."""
    return console.is_terminal or console.is_jupyter


class _NotebookBar(rich.progress.Progress):
    """A bar in a notebook, for which Rich itself needs widgets."""

    _seconds_between = 0.5
    _shown_at = 0.0
    _handle: Any = None

    def start(self) -> None:
        """Show the bar below the cell."""
        from IPython.display import display

        self._shown_at = time.monotonic()
        self._handle = display(self, display_id=True)

    def refresh(self) -> None:
        """Show how far it is by now."""
        is_due = time.monotonic() - self._shown_at >= self._seconds_between
        if self._handle is not None and is_due:
            self._shown_at = time.monotonic()
            self._handle.update(self)

    def stop(self) -> None:
        """Take the bar away."""
        from IPython.display import Pretty

        self._handle.update(Pretty(""))

    def update(self, task_id: rich.progress.TaskID, **changes: Any) -> None:
        """Change a task."""
        super().update(task_id, **{**changes, "refresh": True})

    def advance(self, task_id: rich.progress.TaskID, advance: float = 1) -> None:
        """Move a task on."""
        super().advance(task_id, advance)
        self.refresh()


def make_bar(
    console: RichConsole, speed_estimate_period: float
) -> rich.progress.Progress:
    """Return a bar with the time left, whose tasks have a field `counted`."""
    kind = _NotebookBar if console.is_jupyter else rich.progress.Progress
    return kind(
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


class Counter:
    """Shows how many of the planned are done: a bar where one can move, else lines.

    The whole bar stands for `total`. Its estimate of the time left looks back for
    `period` seconds: far, since runs and trials differ in speed.
    """

    def __init__(
        self, console: RichConsole, what: str, planned: int, total: int, period: float
    ) -> None:
        self.console, self.what, self.planned = console, what, planned
        self.bar = make_bar(console, period) if has_bars(console) else None
        if self.bar is not None:
            self.task = self.bar.add_task("", total=total, counted="")
        self.begin(0)

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, done: int, completed: int = 0) -> None:
        """Start the clock, and say how many were done before."""
        self.done = self.done_before = done
        self.started = time.monotonic()
        if done:
            line = f"{done} of {self.planned} {self.what} were finished before."
            say(self.console, line)
        if self.bar is not None:
            self.bar.reset(self.task, completed=completed)
        self.update()

    def update(self, **changes: Any) -> None:
        """Change the bar, if there is one."""
        if self.bar is not None:
            counted = f"{self.done}/{self.planned} {self.what}"
            self.bar.update(self.task, counted=counted, **changes)

    def say_outcome(self, line: str, left: float) -> None:
        """Say what came of one; `left` is the time left in parts of what has passed."""
        seconds = max(0.0, left * (time.monotonic() - self.started))
        done = f"[{self.done}/{self.planned}]"
        say(self.console, f"{done} {line}; {clock(seconds)} left")
