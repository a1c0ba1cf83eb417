"""Tables as text for 80 columns, and as HTML for notebooks."""

import html
import re
import textwrap
from collections.abc import Sequence

from tabulate import tabulate

_WIDTH = 80
# No column of names is narrower than this, however wide the numbers are.
_LEAST_NAMES = 16
_BETWEEN = 2


def text_table(
    headers: Sequence[str],
    lines: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    prose: bool = False,
) -> str:
    """Return a table as text, at most 80 columns wide unless its numbers are wider.

    Args:
        headers: The columns' names. The first column holds names, which stand at the
            left and are folded after a slash; the others hold numbers.
        lines: The cells, line by line.
        notes: Paragraphs below the table.
        prose: Whether the last column holds words, which are folded too. Defaults to
            False.

    Example:
        >>> print(text_table(["weight", "kept"], [["output/kernel", "9"]], ["A note."]))
        weight           kept
        -------------  ------
        output/kernel       9
        <BLANKLINE>
        A note.
    """
    columns = list(zip(headers, *lines, strict=True))
    numbers = columns[1:-1] if prose else columns[1:]
    # Tabulate leaves no column narrower than its header and two blanks.
    taken = sum(_BETWEEN + max(len(c[0]) + 2, *map(len, c)) for c in numbers)
    room = max(_WIDTH - taken, _LEAST_NAMES)
    align = ["left", *["right"] * len(numbers), *["left"] * prose]
    rows = [list(line) for line in lines]
    if prose:
        words = max(map(len, columns[-1])) + 2
        most = max(room // 2, room - _BETWEEN - words)
        names = min(max(map(len, columns[0])) + 2, most)
        for row in rows:
            row[-1] = textwrap.fill(row[-1], room - names - _BETWEEN)
        room = names
    for row in rows:
        row[0] = _fold(row[0], room)
    table = tabulate(rows, headers, disable_numparse=True, colalign=align)
    below = [textwrap.fill(note, _WIDTH) for note in notes]
    return "\n".join([table, "", *below] if below else [table])


def html_table(
    headers: Sequence[str],
    lines: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    prose: bool = False,
) -> str:
    """Return a table as HTML that takes its colours from the page around it.

    The arguments are those of `text_table`.
    """
    sides = ["left", *["right"] * (len(headers) - 1 - prose), *["left"] * prose]

    def row(kind: str, cells: Sequence[str]) -> str:
        styled = (
            f'<{kind} style="text-align: {side}">{html.escape(cell)}</{kind}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(styled)}</tr>"

    body = "".join(row("td", line) for line in lines)
    below = "".join(f"<div>{_as_html(note)}</div>" for note in notes)
    return (
        f'<div style="overflow-x: auto"><table><thead>{row("th", headers)}</thead>'
        f"<tbody>{body}</tbody></table>{below}</div>"
    )


def _as_html(words: str) -> str:
    """Return words as HTML, with code where backticks are."""
    return re.sub("`(.+?)`", r"<code>\1</code>", html.escape(words))


def _fold(name: str, width: int) -> str:
    """Break a path into lines after its slashes, and within names that are too long."""
    lines = [""]
    for part in name.replace("/", "/\0").split("\0"):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line for line in lines if line)
