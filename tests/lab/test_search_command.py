"""`initprune search`: resume after a kill, chief and workers, a clear end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from processes import wait_until
from typer.testing import CliRunner

from keras_initprune import sparsity
from keras_initprune.lab.cli import app
from keras_initprune.lab.runs.configuration import configure
from keras_initprune.lab.search.settings import SearchSettings
from keras_initprune.tuner.strategies import STRATEGIES

COMMAND = shutil.which("initprune", path=str(Path(sys.executable).parent))
WIDE = {"COLUMNS": "80", "TERM": "dumb"}
SMALL = ["--epochs", "3", "--tuner", "random", "--methods", "dissipating_gradients"]
FILES = {"trials.json", "results.md", "front.png", "best.keras", "best.json"}


def call(*arguments):
    return CliRunner(env=WIDE).invoke(app, [str(item) for item in arguments])


def start(*arguments):
    return subprocess.Popen(
        [COMMAND, "search", *SMALL, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **WIDE, "TF_NUM_INTRAOP_THREADS": "1"},
    )


def finished(out):
    """Return the trials that are stored as finished, from name to record."""
    trials = {}
    for path in (out / "tuner").glob("trial_*/trial.json"):
        trial = json.loads(path.read_text())
        if trial["status"] in ("COMPLETED", "FAILED"):
            trials[trial["trial_id"]] = trial
    return trials


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_killed_search_resumes_without_its_finished_trials(tmp_path):
    out = tmp_path / "out"
    sparsities = ["--sparsities", "0.95,0.96,0.97,0.98,0.99"]
    killed = start("--trials", 3, *sparsities, "--out", out)
    wait_until(lambda: finished(out), killed)
    killed.kill()
    killed.communicate()
    kept = finished(out)

    other = call("search", *SMALL, "--seed", 1, *sparsities, "--out", out)
    assert other.exit_code == 2
    assert "holds a search with seed=0" in other.stderr

    resumed = start("--trials", 3, *sparsities, "--out", out)
    output, errors = resumed.communicate(timeout=180)
    assert resumed.returncode == 0, errors
    assert f"{len(kept)} of 3 trials were finished before." in output
    assert "dense: val_accuracy" in output
    assert "The search is over: 3 of 3 trials." in output
    assert "On the test split: test error" in output
    assert finished(out).items() >= kept.items()
    assert {path.name for path in out.iterdir()} >= FILES
    best = json.loads((out / "best.json").read_text())
    assert best["meets_objective"]
    assert best["metrics"]["sparsity"] >= 0.9499
    assert [each["callback"] for each in best["callbacks"]] == ["DissipatingGradients"]
    assert (out / "front.png").read_bytes().startswith(b"\x89PNG")
    table = output[output.index("trial ") :]
    table = table[: table.index("The search is over")]
    assert max(map(len, table.splitlines())) <= 80

    # The budget is spent: the same command shows it again, and a larger one goes on.
    again = call("search", *SMALL, "--trials", 3, *sparsities, "--out", out)
    assert again.exit_code == 0, again.output
    assert "3 of 3 trials were finished before." in again.output


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ongoing(out):
    """Return the names of the workers that have a trial."""
    path = out / "tuner" / "oracle.json"
    return set(json.loads(path.read_text())["ongoing_trials"]) if path.exists() else ()


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_worker_ends_in_the_middle_of_a_trial_when_its_chief_is_killed(tmp_path):
    # The dense network would train for as long as the trial, which has no end.
    (tmp_path / "dense.json").write_text('{"val_accuracy": 0.9}')
    shared = ["--port", free_port(), "--patience", 4, "--epochs", 10**6]
    chief = start(*shared, "--out", tmp_path, "--role", "chief")
    worker = start(*shared, "--out", tmp_path, "--role", "worker", "--name", "a")
    try:
        wait_until(lambda: ongoing(tmp_path) == {"a"}, chief, worker)
        chief.kill()
        chief.communicate()
        output, errors = worker.communicate(timeout=120)
    finally:
        worker.kill()
        worker.communicate()
    assert worker.returncode == 2
    assert output.startswith("trial ")
    assert "Error: The chief has not answered for 4 seconds." in errors


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_chief_finishes_with_the_workers_that_are_left(tmp_path):
    out = tmp_path / "out"
    shared = ["--trials", 4, "--port", free_port(), "--patience", 8, "--out", out]
    shared += ["--sparsities", "0.95,0.96,0.97,0.98,0.99"]
    chief = start(*shared, "--role", "chief")
    workers = {
        name: start(*shared, "--role", "worker", "--name", name) for name in "ab"
    }

    wait_until(lambda: ongoing(out) == {"a", "b"}, chief, *workers.values())
    # In the middle of a trial, and with nobody told.
    workers["a"].kill()
    workers["a"].communicate()
    assert workers["a"].returncode == -signal.SIGKILL

    output, errors = chief.communicate(timeout=180)
    assert chief.returncode == 0, errors
    assert "The worker a is lost; trial" in output
    assert "The search is over: 4 of 4 trials." in output
    seen, errors = workers["b"].communicate(timeout=60)
    assert workers["b"].returncode == 0, errors
    assert seen.endswith("The search is over.\n")
    records = json.loads((out / "trials.json").read_text())
    assert [record["status"] for record in records] == ["completed"] * 4
    assert {path.name for path in out.iterdir()} >= FILES


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_ends_in_a_table_and_a_sparse_network(tmp_path, strategy):
    # A process of its own: the CPU can only be divided before TensorFlow starts.
    search = start("--trials", 1, "--strategy", strategy, "--out", tmp_path)
    output, errors = search.communicate(timeout=180)
    assert search.returncode == 0, errors
    assert "The search is over: 1 of 1 trials." in output
    assert {path.name for path in tmp_path.iterdir()} >= FILES
    model = keras.saving.load_model(tmp_path / "best.keras")
    assert sparsity(model) == pytest.approx(0.95, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "luck"], "`objective` must be one of"),
        (["--tuner", "luck"], "`tuner` must be one of"),
        (["--methods", "dense"], "`methods` must be one of"),
        (["--sparsities", "most"], "`sparsities` must be numbers"),
        (["--sparsity", "95"], "`sparsity`"),
        (["--objective", "pareto_front", "--sparsity", "0.9"], "`sparsity` is for"),
        (["--tolerance", "0.1"], "`tolerance` is for"),
        (["--port", "9000"], "`port` is for"),
        (["--role", "chief", "--port", "0"], "`port` must be"),
        (["--trials", "0"], "`trials`"),
        (["--minutes", "0"], "`minutes`"),
        (["--epochs", "2"], "`epochs` must be at least 3"),
        (["--tuner", "hyperband", "--epochs", "5"], "`epochs` must be at least 6"),
        (["--strategy", "luck"], "`strategy` must be one of"),
        (["--devices", "2"], "`devices` is for"),
        (["--role", "boss"], "`role` must be one of"),
        (["--role", "worker", "--name", "chief"], "`name` must not"),
        (["--role", "worker", "--patience", "0.1"], "No chief has begun"),
        (["--patience", "-1"], "`patience`"),
        (["--dataset", "mnist", "--data-dir", "missing"], "missing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    result = call("search", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "searches" / "digits-perceptron" / "search.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum": 0.5}, "momentum=0.5, and this one has no momentum"),
        ({"objective": ...}, "no objective, and this one has objective="),
        (..., "is damaged"),
    ],
)
def test_a_search_of_a_version_with_other_settings_is_refused(
    tmp_path, change, message
):
    settings = SearchSettings(run=configure(epochs=3)).identity
    found = [settings] if change is ... else {**settings, **change}
    if isinstance(found, dict):
        found = {name: value for name, value in found.items() if value is not ...}
    (tmp_path / "search.json").write_text(json.dumps(found))
    result = call("search", "--epochs", 3, "--out", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr


def test_two_searches_do_not_share_a_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = call("search", *SMALL, "--out", tmp_path)
    assert result.exit_code == 2
    assert "Another search is running in" in result.stderr
