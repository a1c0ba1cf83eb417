"""What the pages of `docs/` show runs as it stands there, and names all there is."""

import ast
import doctest
import importlib
import re
import shlex
import warnings
from pathlib import Path

import pytest
import typer
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from typer.testing import CliRunner

from keras_initprune.cli import app
from test_layers import LAYERS

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
COMMANDS = typer.main.get_command(app)
# Messages are wrapped, and those of Keras shortened.
WRAPPED = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


class SessionParser(PythonCodeBlockParser):
    """Reads blocks of `>>>` lines and what they print."""

    def __init__(self):
        super().__init__(doctest_optionflags=WRAPPED)
        self.codeblock_parser.language = "pycon"


def check_commands(example):
    """Raise unless the commands of this package take what they are given."""
    for words in map(shlex.split, example.parsed.splitlines()):
        if words and Path(words[0]).name == "initprune":
            command, arguments = COMMANDS.commands[words[1]], words[2:]
            command.make_context(words[1], arguments)


def check_terminal(example):
    """Raise unless a command prints what is shown after it."""
    line, _, shown = example.parsed.partition("\n")
    arguments = shlex.split(line.removeprefix("$ initprune "))
    printed = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments).output
    assert printed.split() == shown.split()


EXAMPLES = Sybil(
    [
        PythonCodeBlockParser(),
        SessionParser(),
        CodeBlockParser("bash", check_commands),
        CodeBlockParser("console", check_terminal),
    ]
)


def print_warning(message, category, *place):
    print(f"{category.__name__}: {message}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", print_warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        for example in EXAMPLES.parse(page).examples():
            example.evaluate()
