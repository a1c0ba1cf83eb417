"""The files around the code say the same: versions, and what is run where."""

import re
import tomllib
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import pytest

import keras_initprune

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(path):
    """Return what a file holds, by its path within the project."""
    return (ROOT / path).read_text()


def test_there_is_one_version():
    [cited] = re.findall("^version: (.+)$", text("CITATION.cff"), re.MULTILINE)
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == "attr: keras_initprune.__version__"
    assert cited == keras_initprune.__version__ == version("keras_initprune")


def test_every_file_is_below_a_megabyte():
    folders = ("benchmarks", "docs", "images", "keras_initprune", "notebooks", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    # What notebooks write is not in the repository.
    kept = [path for path in files if "results" not in path.relative_to(ROOT).parts]
    assert not [path for path in kept if path.stat().st_size >= 10**6]


def test_workflows_check_with_the_commands_of_ci():
    pattern = re.compile(r"\.venv/bin/(?:ruff|mypy|mkdocs|pytest -m).*$", re.MULTILINE)
    commands = {found for path in WORKFLOWS for found in pattern.findall(text(path))}
    commands.discard(".venv/bin/pytest -m slow tests/test_wheel.py")
    assert len(commands) >= 5
    assert [command for command in commands if command not in text(".ci/run")] == []


@pytest.mark.parametrize("path", [".ci/run", ".github/workflows/ci.yml"])
def test_every_backend_is_held_to_the_same_contract(path):
    command = (
        'pytest -n 2 -p no:cacheprovider -m "backends or jax_only or not_on_jax" '
        "tests/backends tests/test_backend.py tests/constraints/test_leak_matrix.py "
        "tests/deploy/test_sparse.py"
    )
    assert command in " ".join(text(path).replace("\\", " ").split())


def test_ci_has_the_versions_of_python_that_the_package_declares():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    classifiers = setup["metadata"]["classifiers"]
    declared = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    [tested] = re.findall(r"python: \[(.+)\]", text(WORKFLOWS[0]))
    assert [f'"{each}"' for each in declared] == tested.split(", ")
    assert setup["options"]["python_requires"] == f">={declared[0]}"


@pytest.mark.parametrize("name", ["ruff", "mypy"])
def test_hooks_run_what_ci_runs(name):
    assert f"entry: .venv/bin/{name}" in text(".pre-commit-config.yaml")
    assert name in tomllib.loads(text("pyproject.toml"))["tool"]
