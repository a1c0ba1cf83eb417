"""Every command gets to its end where lines are short and letters are few."""

import json
import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PLAIN = {"PYTHONIOENCODING": "ascii", "COLUMNS": "40", "TERM": "dumb"}
SHORT = ["--epochs", "2", "--prune-epochs", "2"]
STUDY = """
[every]
dataset = "digits"
model = "perceptron"
epochs = 1
sparsity = 0.9
seed = [0, 1]

[parts.which]
title = "Which"
method = ["dense", "random"]
reports = ["error_against_sparsity", "paired"]
"""


def run(*arguments, module="keras_initprune.lab.cli"):
    """Run a command in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        encoding="ascii",
        check=False,
        env={**os.environ, **PLAIN},
    )
    assert done.returncode == 0, done.stderr
    assert "..." not in done.stdout
    return done.stdout


def letters(text):
    return "".join(text.replace("±", "+-").split())


def assert_shows_table(printed, page):
    """Fail unless every cell of a page's Markdown table was printed."""
    rows = re.findall(r"(?m)^\|[^-].*\|$", page.read_text(encoding="utf-8"))
    assert len(rows) > 1
    for row in rows:
        for cell in row.replace("*", "").strip("|").split("|"):
            assert letters(cell) in letters(printed)


def test_compare(tmp_path):
    arguments = ["--methods", "dense,random", "--seeds", 2, "--sparsities", 0.9]
    printed = run("compare", *SHORT, *arguments, "--out", tmp_path)
    assert " +- " in printed
    assert_shows_table(printed, tmp_path / "results.md")


def test_train_report_and_export(tmp_path):
    trained = run("train", *SHORT, "--method", "random", "--out", tmp_path)
    shown = run("report", tmp_path / "model.keras")
    for row in json.loads((tmp_path / "report.json").read_text())["rows"]:
        for number in (row["parameters"], row["kept"]):
            assert f"{number:,}" in trained
            assert f"{number:,}" in shown
    formats = ["--format", "keras,saved_model,numpy", "--compact"]
    exported = run("export", tmp_path / "model.keras", *formats)
    assert f"{(tmp_path / 'model-numpy.npz').stat().st_size:,}" in exported


def test_search(tmp_path):
    arguments = ["--trials", 2, "--tuner", "random", "--methods", "random"]
    printed = run("search", "--epochs", 3, *arguments, "--out", tmp_path)
    assert_shows_table(printed, tmp_path / "results.md")


def test_study(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    assert "Wrote" in run("study", tmp_path / "study.toml")


def test_benchmark(tmp_path):
    out = tmp_path / "figures.json"
    arguments = ["--quick", "--measures", "exports", "--pairs", 1]
    printed = run(*arguments, "--out", out, module="benchmarks")
    for figure in json.loads(out.read_text())["exports"]["figures"]:
        assert f"{figure['ratio']:.2f}" in printed


def test_help_names_every_option():
    printed = run("search", "--help")
    for option in ("--objective", "--learning-rate", "--sparsities", "--patience"):
        assert option in printed
