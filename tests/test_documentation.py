"""What the pages of `docs/` show runs as it stands there, and names all there is."""

import doctest
import importlib
import inspect
import re
import shlex
import warnings
from pathlib import Path

import pytest
import typer
from settings import OFFERED
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from typer.testing import CliRunner

from keras_initprune.criteria import CRITERIA
from keras_initprune.lab.cli import app
from keras_initprune.lab.runs.methods import METHODS as METHODS_OF_COMMANDS
from keras_initprune.research import sanity_checks

ROOT = Path(__file__).parent.parent
PAGES = [
    page for page in sorted((ROOT / "docs").rglob("*.md")) if "```" in page.read_text()
]
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


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", print_warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        for example in EXAMPLES.parse(page).examples():
            example.evaluate()


QUOTING = ["README.md", "docs/results.md", "docs/choose.md", "docs/study/index.md"]
INTERVAL = re.compile(r"\d+\.\d+ ± \d+\.\d+")


@pytest.mark.parametrize("page", QUOTING)
def test_intervals_that_a_page_quotes_are_those_of_the_study(page):
    tables = (ROOT / "docs" / "study" / "results.md").read_text()
    words = (ROOT / page).read_text().split()
    quoted = INTERVAL.findall(" ".join(words))  # Lines break within them.
    assert quoted
    assert sorted(set(quoted) - set(INTERVAL.findall(tables))) == []


def test_every_command_has_its_options_on_the_page():
    page = (ROOT / "docs" / "guides" / "command-line.md").read_text()
    listed = re.findall("<!-- options of (.+) -->", page)
    assert sorted(listed) == sorted(COMMANDS.commands)


def test_every_method_of_the_commands_is_on_the_page():
    page = (ROOT / "docs" / "guides" / "command-line.md").read_text()
    table = page.partition("| `--methods` |")[2].partition("## Run a study")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines()[1:]]
    assert sorted(re.findall("`(.+?)`", " ".join(rows))) == sorted(METHODS_OF_COMMANDS)


MODULES = {
    "keras_initprune": None,
    "keras_initprune.criteria": None,
    "keras_initprune.lab.datasets": None,
    "keras_initprune.lab.models": None,
    # Without `__all__`: it is one file that runs without this package.
    "keras_initprune.deploy.numpy_runtime": ["NumpyModel", "load", "product"],
    "keras_initprune.plots": None,
    "keras_initprune.research.sanity_checks": None,
    "keras_initprune.tuner": None,
}
PUBLIC = {
    f"{module}.{name}": getattr(importlib.import_module(module), name)
    for module, names in MODULES.items()
    for name in names or importlib.import_module(module).__all__
}
# What is made by others, or needs a search or files that do not come with the package.
WITHOUT_EXAMPLE = [
    "keras_initprune.criteria.CRITERIA",
    "keras_initprune.lab.datasets.prepare",
    "keras_initprune.deploy.numpy_runtime.NumpyModel",
    "keras_initprune.plots.Figure",
    "keras_initprune.plots.PALETTE",
    "keras_initprune.tuner.plot_front",
]

# Not public, but it says what `layers` of all methods takes.
PRUNABLE_WEIGHTS = "keras_initprune.constraints.weights.prunable_weights"
METHODS = [
    *(f"keras_initprune.{name}" for name in (*OFFERED, "lottery_ticket")),
    *(f"keras_initprune.criteria.{kind.__name__}" for kind in CRITERIA.values()),
    *(f"{sanity_checks.__name__}.{name}" for name in sanity_checks.__all__),
]


def test_the_reference_has_every_public_name():
    pages = [page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md")]
    listed = re.findall("^::: (.+)$", "\n".join(pages), re.MULTILINE)
    assert sorted(listed) == sorted({*PUBLIC, PRUNABLE_WEIGHTS})


def test_no_file_is_called_like_what_its_folder_exports():
    """The reference would show the file in its place."""
    files = {name: ROOT / f"{name.replace('.', '/')}.py" for name in PUBLIC}
    assert not [name for name, file in files.items() if file.exists()]


def test_public_names_have_an_example():
    silent = [
        name for name, what in PUBLIC.items() if ">>> " not in inspect.getdoc(what)
    ]
    assert sorted(silent) == sorted(WITHOUT_EXAMPLE)


def test_methods_name_their_paper():
    paper = re.compile(r"arXiv\s+\d{4}\.\d{5}")
    assert not [
        name for name in METHODS if not paper.search(inspect.getdoc(PUBLIC[name]))
    ]
