import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from processes import wait_until
from typer.testing import CliRunner

from keras_initprune import sparsity
from keras_initprune.lab.cli import app
from keras_initprune.lab.runs.results import Results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tf_only("The laboratory and the command `initprune`"),
]

COMMAND = shutil.which("initprune", path=str(Path(sys.executable).parent))
TINY = ["--seeds", "1", "--sparsities", "0.9", "--epochs", "2", "--prune-epochs", "2"]
WIDE = {"COLUMNS": "80", "TERM": "dumb"}


def call(*arguments):
    return CliRunner(env=WIDE).invoke(app, [str(item) for item in arguments])


def test_compare_resumes_and_ends_in_a_table_and_a_figure(tmp_path):
    out = tmp_path / "out"
    first = call("compare", *TINY, "--methods", "dense,random", "--out", out)
    assert first.exit_code == 0, first.output
    assert "[1/2] dense" in first.output
    stored = Results(out).runs

    arguments = ["--methods", "dense,random", "--methods", "combination"]
    second = call("compare", *TINY, *arguments, "--out", out)
    assert second.exit_code == 0, second.output
    assert "2 of 3 runs were finished before." in second.output
    runs = Results(out).runs
    assert runs[:2] == stored
    assert [run["method"] for run in runs] == ["dense", "random", "combination"]
    table = second.output[second.output.index("digits, perceptron") :]
    table = table[: table.index("Wrote")]
    for shown in (table, (out / "results.md").read_text()):
        assert "360 test images, too few to rank methods" in " ".join(shown.split())
    assert "combination" in table
    assert max(map(len, table.splitlines())) <= 80
    assert "| combination |" in re.sub(" +", " ", (out / "results.md").read_text())
    png = (out / "error_against_sparsity.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(list(out.glob("[!.]*"))) == 3


def test_a_network_that_collapses_is_a_line_below_the_table(tmp_path):
    arguments = ["--methods", "random", *TINY, "--out", tmp_path]
    first = call("compare", *arguments, "--sparsities", "0.999999")
    assert first.exit_code == 0, first.output
    line = "random at 99.9999 %, seed 0, failed: All 19200 weights"
    assert "90 %  random" in first.output[: first.output.rindex(line)]
    assert line in (tmp_path / "results.md").read_text()
    assert (tmp_path / "error_against_sparsity.png").exists()
    again = call("compare", *arguments, "--sparsities", "0.999999")
    assert "2 of 2 runs were finished before." in again.output


def test_where_all_networks_collapse_there_are_reasons_and_no_table(tmp_path):
    arguments = ["--methods", "random", "--sparsities", "0.999999", "--seeds", "1"]
    only = call("compare", *arguments, "--epochs", "2", "--out", tmp_path)
    assert only.exit_code == 0, only.output
    line = "random at 99.9999 %, seed 0, failed: All 19200 weights"
    assert line in only.output
    assert (tmp_path / "results.md").read_text().startswith(line)
    assert not (tmp_path / "error_against_sparsity.png").exists()


def test_train_writes_a_model_that_report_reads(tmp_path):
    arguments = ["--epochs", 2, "--prune-epochs", 2, "--sparsity", 0.95]
    trained = call("train", *arguments, "--out", tmp_path)
    assert trained.exit_code == 0, trained.output
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["history.csv", "model.keras", "report.json", "run.json"]
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["achieved_sparsity"] == pytest.approx(0.95, abs=1e-4)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3

    shown = call("report", tmp_path / "model.keras")
    assert shown.exit_code == 0, shown.output
    assert "hidden_1/kernel" in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80

    again = call("train", *arguments, "--out", tmp_path)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("model", ["resnet", "vit"])
def test_networks_with_shortcuts_are_compared_trained_and_loaded(model, tmp_path):
    short = ["--model", model, "--epochs", 2, "--prune-epochs", 2, "--batch-size", 256]
    compared = call(
        "compare", *short, *TINY[:4], "--methods", "combination", "--out", tmp_path
    )
    assert compared.exit_code == 0, compared.output
    (run,) = Results(tmp_path).runs
    assert "failed" not in run

    arguments = [*short, "--method", "combination", "--sparsity", 0.9]
    trained = call("train", *arguments, "--out", tmp_path)
    assert trained.exit_code == 0, trained.output
    again = json.loads((tmp_path / "run.json").read_text())
    assert again["achieved_sparsity"] == pytest.approx(0.9, abs=1e-4)
    assert again["test_error"] == run["test_error"]
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert sparsity(loaded) == again["achieved_sparsity"]


@pytest.mark.parametrize("name", ["report.json", "model.keras"])
@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_train_removes_no_folder(options, name, tmp_path):
    note = tmp_path / name / "note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    refused = call("train", "--method", "random", "--out", tmp_path, *options)
    assert refused.exit_code == 2
    assert f"{name} is a folder of other files" in refused.stderr
    assert note.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [note.parent]


@pytest.mark.parametrize(
    ("command", "name"), [("train", "report.json"), ("compare", "results.md")]
)
def test_no_file_of_another_making_is_replaced_unasked(command, name, tmp_path):
    (tmp_path / name).write_text("mine")
    refused = call(command, "--out", tmp_path)
    assert refused.exit_code == 2
    assert name in refused.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--dataset", "cifar"], "`dataset` must be one of 'digits'"),
        (["compare", "--model", "huge"], "`model` must be one of"),
        (["compare", "--methods", "dense,magic"], "`method` must be one of"),
        (["compare", "--methods", ","], "`methods` must not be empty"),
        (["compare", "--sparsities", "0.9,1.0"], "`sparsity`"),
        (["compare", "--sparsities", "most"], "`sparsities` must be numbers"),
        (["compare", "--sparsities", "nan"], "`sparsity`"),
        (["compare", "--seeds", "0"], "`seeds`"),
        (["compare", "--k", "0"], "`k`"),
        (["compare", "--epochs", "few"], "--epochs"),
        (["compare", "--epochs", "1", "--methods", "hand_over"], "`prune_epochs`"),
        (["compare", "--nonsense"], "--nonsense"),
        (["compare", "--distribution", "magic"], "`distribution`"),
        (["train", "--sparsity", "95"], "`sparsity`"),
        (["train", "--method", "magic"], "`method`"),
        (["report", "missing.keras"], "missing.keras"),
        (["report", __file__], "Cannot load a model"),
        (["prepare-data", "digits"], "mnist"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_an_output_folder_that_cannot_be_written_fails_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    for command in ("compare", "train"):
        result = call(command, "--out", tmp_path / "file" / "out")
        assert result.exit_code == 2
        assert "Cannot write to the folder" in result.stderr


def test_data_that_is_missing_is_named(tmp_path):
    missing = tmp_path / "missing"
    for dataset in ("mnist", "fashion_mnist"):
        arguments = ["--dataset", dataset, "--data-dir", missing]
        result = call("compare", *arguments, "--out", tmp_path)
        assert result.exit_code == 2
        assert "missing" in result.stderr


def test_help_names_every_command_and_version_is_shown():
    text = call("--help").output
    assert all(name in text for name in ("compare", "train", "report", "prepare-data"))
    assert call().output == text
    assert re.fullmatch(r"initprune \d+\.\d+\.\d+\S*\n", call("--version").output)


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"]])
def test_help_loads_nothing_that_takes_long(arguments):
    # What the installed command runs, in a process that calls itself by its name.
    code = (
        f"import sys; sys.argv = ['initprune', *{arguments}]\n"
        "from keras_initprune.lab.command import main\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'tabulate', 'rich.progress'}\n"
        "try: main()\n"
        "except SystemExit: print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"
    assert not done.stderr


LONG = ["--methods", "dense", "--seeds", "200", "--epochs", "2", "--prune-epochs", "1"]


def start_long_comparison(out):
    """Start a comparison in a process of its own, and wait for its first run."""
    process = subprocess.Popen(
        [COMMAND, "compare", *LONG, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **WIDE},
    )
    wait_until((out / "results.json").exists, process, seconds=120)
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_killed_comparison_resumes_and_ctrl_c_ends_it_cleanly(tmp_path):
    out = tmp_path / "out"
    killed = start_long_comparison(out)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    kept = Results(out).runs
    assert kept

    resumed = start_long_comparison(out)
    line = resumed.stdout.readline()
    assert line == f"{len(kept)} of 200 runs were finished before.\n"
    assert f"[{len(kept) + 1}/200]" in resumed.stdout.readline()
    resumed.send_signal(signal.SIGINT)
    _, errors = resumed.communicate(timeout=60)
    runs = Results(out).runs
    assert runs[: len(kept)] == kept
    assert resumed.returncode == 130
    assert errors == (
        f"Interrupted: {len(runs)} of 200 runs are kept in {out}. "
        "The same command goes on from there.\n"
    )
    assert [path.name for path in out.glob("[!.]*")] == ["results.json"]


# Runs a command that is killed just before it gives a file its name.
KILLED = """
import os, signal, sys
name = sys.argv.pop(1)
def hook(event, arguments):
    if event == "os.rename" and str(arguments[1]) == name:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from keras_initprune.lab.command import main
main()
"""


def kill(path, *arguments):
    """Run a command that is killed just before it gives the file `path` its name."""
    command = [sys.executable, "-c", KILLED, path, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_training_that_was_killed_while_it_wrote_goes_on(tmp_path):
    arguments = ["train", "--method", "random", "--epochs", 1, "--out", tmp_path]
    kill(tmp_path / "history.csv", *arguments)
    assert (tmp_path / "model.keras").exists()
    other = call(*arguments, "--seed", 1)
    assert other.exit_code == 2
    assert "model.keras exists" in other.stderr
    again = call(*arguments)
    assert again.exit_code == 0, again.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.csv",
        "model.keras",
        "report.json",
        "run.json",
    ]


class TestExport:
    @pytest.fixture
    def model(self, tmp_path):
        model = keras.Sequential(
            [keras.Input((12,)), keras.layers.Dense(9, "relu"), keras.layers.Dense(3)]
        )
        kernel = model.layers[1].kernel
        kernel.assign(kernel * (np.arange(9) < 4)[:, None])
        model.save(tmp_path / "model.keras")
        return tmp_path / "model.keras"

    def test_writes_what_is_asked_for_and_shows_the_sizes(self, model):
        shown = call("export", model, "--format", "keras,numpy", "--compact")
        assert shown.exit_code == 0, shown.output
        names = {path.name: path.stat().st_size for path in model.parent.iterdir()}
        assert set(names) == {
            "model.keras",
            "model-keras.keras",
            "model-numpy.npz",
        }
        for size in names.values():
            assert f"{size:,}" in shown.output
        # 12 inputs and 9 units, then 4: 12 * 4 + 4 + 4 * 3 + 3.
        assert re.search(r"all +147 +67", shown.output)
        assert max(map(len, shown.output.splitlines())) <= 80

    def test_replaces_nothing_unasked(self, model):
        arguments = ["export", model, "--format", "numpy"]
        assert call(*arguments).exit_code == 0
        refused = call(*arguments)
        assert refused.exit_code == 2
        assert "--overwrite" in refused.output
        assert call(*arguments, "--overwrite").exit_code == 0

    @pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
    def test_goes_on_after_a_kill(self, model):
        arguments = ["export", model, "--format", "keras,saved_model,numpy"]
        kill(model.parent / "model-numpy.npz", *arguments)
        assert (model.parent / "model-saved_model").is_dir()
        again = call(*arguments)
        assert again.exit_code == 0, again.output
        assert sorted(path.name for path in model.parent.iterdir()) == [
            "model-keras.keras",
            "model-numpy.npz",
            "model-saved_model",
            "model.keras",
        ]
        assert "--overwrite" in call(*arguments).stderr

    def test_refuses_before_it_writes(self, model):
        refused = call("export", model, "--format", "keras,pb")
        assert refused.exit_code == 2
        assert "Received: format='pb'" in refused.output
        assert list(model.parent.iterdir()) == [model]


def test_a_shell_completes_commands_and_options(tmp_path):
    words = {"COMP_WORDS": "initprune co", "COMP_CWORD": "1"}
    asked = {**os.environ, **words, "_INITPRUNE_COMPLETE": "complete_bash"}
    done = subprocess.run([COMMAND], capture_output=True, text=True, env=asked)
    assert done.stdout.split() == ["compare"]
    home = {
        **os.environ,
        "HOME": str(tmp_path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run(
        [COMMAND, "--install-completion", "bash"],
        capture_output=True,
        text=True,
        env=home,
    )
    assert done.returncode == 0, done.stderr
    assert "initprune" in (tmp_path / ".bashrc").read_text()
