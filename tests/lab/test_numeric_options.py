"""A number that cannot be meant is one clear error, before any work."""

import re

import pytest
from typer.testing import CliRunner

from keras_initprune.lab.cli import app

WHOLE = ["0", "-1", "nan", "inf", "1.5", "1" + "0" * 30]
REAL = ["0", "-1", "nan", "inf", "1e300"]
SEEDS = ["-1", "nan", "inf", str(2**32), "1" + "0" * 30]
# A share that is removed may be 0, and so may a decay.
SHARES = ["-1", "nan", "inf", "1", "1e300"]

TRAINING = {
    "--epochs": WHOLE,
    "--batch-size": WHOLE,
    "--learning-rate": [*REAL, "1e-300"],
    "--weight-decay": SHARES,
}
PRUNING = {"--prune-epochs": WHOLE, "--k": WHOLE}
WRONG = {
    "train": {**TRAINING, **PRUNING, "--sparsity": SHARES, "--seed": SEEDS},
    "compare": {**TRAINING, **PRUNING, "--sparsities": SHARES, "--seeds": WHOLE},
    "search": {
        **TRAINING,
        "--sparsity": SHARES,
        "--sparsities": SHARES,
        "--tolerance": REAL,
        "--trials": WHOLE,
        "--minutes": REAL,
        "--seed": SEEDS,
        "--devices": WHOLE,
        "--port": [*WHOLE, "65536"],
        "--patience": REAL,
    },
    "study": {"--seeds": WHOLE, "--workers": WHOLE},
    "benchmark": {
        "--pairs": WHOLE,
        "--threads": [value for value in WHOLE if value != "0"],
    },
}
# What it takes for an option to be looked at.
NEEDED = {
    ("search", "--tolerance"): ["--objective", "sparsity_within_tolerance"],
    ("search", "--devices"): ["--strategy", "mirrored"],
    ("search", "--port"): ["--role", "worker"],
}


def call(command, *options):
    arguments = ["study.toml"] if command == "study" else []
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
    return runner.invoke(app, [command, *arguments, *options])


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (command, option, value)
        for command, options in WRONG.items()
        for option, values in options.items()
        for value in values
    ],
)
def test_is_refused(command, option, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = call(command, option, value, *NEEDED.get((command, option), []))
    assert refused.exit_code == 2, refused.output
    name = option.removeprefix("--").replace("-", "_")
    # A list is refused by the rule of its items.
    names = [option, f"`{name}`", f"`{name.replace('ies', 'y')}`"]
    assert any(name in refused.stderr for name in names), refused.stderr
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""
    assert not list(tmp_path.iterdir())


def test_every_numeric_option_is_in_the_table():
    """An option with a default that is a number, or of which one is asked."""
    for command, options in WRONG.items():
        shown = call(command, "--help").output
        numeric = set(re.findall(r"(--[a-z-]+) +<(?:int|float)", shown))
        assert numeric <= set(options), command
        assert numeric
