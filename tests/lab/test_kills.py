"""A command that is killed at any moment goes on when it is called again."""

import json
import os
import random
import subprocess
import sys

import pytest

from keras_initprune.lab.runs.results import Results

STUDY = """
[every]
dataset = "digits"
epochs = 2
batch_size = 256
seed = [0, 1]
[parts.a]
method = ["dense", "random"]
"""
SMALL = ["--epochs", "3", "--batch-size", "256"]
COMMANDS = {
    "compare": [*SMALL, "--methods", "dense,random", "--seeds", "2"],
    "search": [*SMALL, "--trials", "3", "--tuner", "random", "--sparsity", "0.9"],
    "study": ["{out}/study.toml", "--workers", "2"],
}
# Files of finished runs, and how many runs there are.
STORED = {
    "compare": ("results.json", 6),
    "search": ("tuner/trial_*/trial.json", 3),
    "study": ("*/results.json", 4),
}


def stored(name, out):
    """Return what is finished, as texts."""
    paths = list(out.glob(STORED[name][0]))
    if name == "search":
        trials = [json.loads(path.read_text()) for path in paths]
        found = [trial for trial in trials if trial["status"] == "COMPLETED"]
    else:
        found = [run for path in paths for run in Results(path.parent).runs]
    return {json.dumps(run, sort_keys=True) for run in found}


@pytest.mark.whole_matrix
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_goes_on_after_a_kill_at_any_moment(tmp_path, name):
    (tmp_path / "study.toml").write_text(STUDY)
    arguments = [text.format(out=tmp_path) for text in COMMANDS[name]]
    command = [sys.executable, "-m", "keras_initprune.lab.cli", name, *arguments]
    command += ["--out", str(tmp_path)]
    draws, kept = random.Random(0), set()
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(draws.uniform(3, 25))
            except subprocess.TimeoutExpired:
                process.kill()
        assert kept <= stored(name, tmp_path)
        kept = stored(name, tmp_path)
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert kept <= stored(name, tmp_path)
    assert len(stored(name, tmp_path)) == STORED[name][1]
    assert (tmp_path / "results.md").exists()
