"""What the laboratory shows: lines, and tables, in Markdown too.

Its console loses nothing where lines are short or letters are few.
"""

import codecs
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
    from tabulate import tabulate  # `initprune --help` does not wait for it.

    return tabulate(
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
