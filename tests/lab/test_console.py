"""Nothing is lost on the way to a terminal."""

import io

import pytest
from rich import box
from rich.table import Table

from keras_initprune.lab.counter import has_bars, make_bar
from keras_initprune.lab.terminal import PLAIN, Console


def shown(renderable, width=80, encoding="utf-8"):
    """Return what is written to a file of an encoding, as text."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors=PLAIN)
    Console(file=file, width=width).print(renderable)
    file.flush()
    return raw.getvalue().decode(encoding)


def table():
    made = Table(
        title="Errors",
        caption="lower is better",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    made.add_column("method", overflow="fold")
    made.add_column("mean ± 95 %", justify="right", no_wrap=True)
    made.add_column("parameters", justify="right", no_wrap=True)
    made.add_row("a[1]", "1.62 ± 0.11", "1,234,567")
    made.add_row("b" * 20, "", "7", style="bold")
    return made


CELLS = ("1.62 ± 0.11", "1,234,567", "Errors", "lower is better", "a[1]")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("width", [*range(15, 45), 80])
def test_no_cell_of_a_table_is_cut(width, encoding):
    text = shown(table(), width, encoding)
    assert max(map(len, text.splitlines())) <= width
    # Lines may be broken, at spaces.
    letters = "".join(text.split())
    for cell in CELLS:
        expected = cell.replace("±", "+-") if encoding == "ascii" else cell
        assert expected.replace(" ", "") in letters
    # A long name may be folded between other cells.
    assert letters.count("b") == 20 + letters.count("better")
    assert "..." not in letters
    assert "…" not in letters


def test_a_table_stays_one_where_it_fits():
    assert "method" in shown(table()).splitlines()[1]


def test_rows_are_told_apart_where_it_does_not():
    lines = shown(table(), 24).splitlines()
    assert lines[2:6] == [
        "method: a[1]",
        "mean ± 95 %: 1.62 ± 0.11",
        "parameters: 1,234,567",
        "",
    ]


def test_what_no_encoding_has_is_written_as_python_escapes_it():
    assert shown("Wrote \udcff ± [bold]", encoding="utf-8") == (
        "Wrote \\udcff ± [bold]\n"
    )
    assert shown("Wrote ü", encoding="ascii") == "Wrote \\xfc\n"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_long_description_leaves_room_for_the_bar_and_the_time(width):
    bar = make_bar(Console(width=width), speed_estimate_period=600)
    bar.add_task("combination " * 20, total=20, completed=10, counted="10/20 trials")
    lines = shown(bar.get_renderable(), width).splitlines()
    assert len(lines) == 1
    assert "10/20 trials" in lines[0]
    assert "50%" in lines[0]
    assert "-:--:--" in lines[0]
    assert "\u2501" * 5 in lines[0]
    assert "combination" in lines[0]


def test_a_notebook_has_a_bar_that_moves_and_goes():
    capture = pytest.importorskip("IPython.utils.capture")
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell
    shell.instance()
    console = Console(force_jupyter=True)
    assert has_bars(console)
    with capture.capture_output() as output:
        bar = make_bar(console, speed_estimate_period=600)
        bar._seconds_between = 0
        with bar:
            task = bar.add_task("random 90 %", total=4, counted="0/4 runs")
            bar.advance(task)
            bar.update(task, counted="1/4 runs", description="random 95 %")
    shell.clear_instance()
    texts = [each.data["text/plain"] for each in output.outputs]
    assert "25%" in texts[-3]
    assert "1/4 runs" in texts[-2]
    assert "random 95 %" in texts[-2]
    assert texts[-1] == ""


def test_there_is_no_bar_in_a_file():
    assert not has_bars(Console(file=io.StringIO()))
