"""A study: its file, its runs over processes, its page."""

import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from processes import wait_until
from real_data import DATA_DIR, real_data
from rich.console import Console
from typer.testing import CliRunner

from keras_initprune.lab.cli import app
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.configuration import CHECKS, CONTROLS, configure
from keras_initprune.lab.runs.controls import small_widths
from keras_initprune.lab.runs.results import Results
from keras_initprune.lab.study import StudyResults, read_study, run_study, write_reports
from keras_initprune.lab.study.reports import mean_density

pytestmark = pytest.mark.slow

HEAD = """
title = "A small study"

[every]
dataset = "digits"
model = "perceptron"
sparsity = [0.8, 0.9]
seed = [0, 1]
epochs = 4
prune_epochs = 2

[models.perceptron]
batch_size = 256

[methods.random]
learning_rate = 0.01
"""
SMALL = (
    HEAD
    + """
[parts.methods]
title = "Which method"
method = ["dense", "random", "dissipating_gradients"]
seed = 0
sparsity = 0.9
reports = ["error_against_sparsity", "paired", "effective_sparsity", "price", "dots"]

[parts.again]
title = "The same runs"
method = ["dense", "random"]
seed = 0
sparsity = 0.9
"""
)


def write(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


@pytest.fixture
def quiet():
    return Console(quiet=True)


# The file


def test_lists_are_the_axes_of_a_grid(tmp_path):
    part = '[parts.a]\nmethod = ["dense", "random", "snip"]\nk = [2, 4]\n'
    study = read_study(write(tmp_path, HEAD + part))
    runs = study.runs
    pruned = itertools.product([0, 1], ["random", "snip"], [2, 4], [0.8, 0.9])
    dense = itertools.product([0, 1], ["dense"], [2, 4], [0.0])
    found = {(run.seed, run.method, run.k, run.sparsity) for run in runs}
    assert found == {*pruned, *dense}
    assert len(runs) == len(found)
    # Seed by seed, so that what is stopped has compared everything.
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)


def test_a_part_stands_above_methods_and_these_above_models(tmp_path):
    parts = """
[parts.a]
method = ["random", "snip"]
[parts.b]
method = "random"
learning_rate = 0.02
batch_size = 64
"""
    a, b = read_study(write(tmp_path, HEAD + parts)).parts
    rates = {run.method: run.learning_rate for run in a.runs}
    assert rates == {"random": 0.01, "snip": configure().learning_rate}
    assert {run.batch_size for run in a.runs} == {256}
    assert {(run.learning_rate, run.batch_size) for run in b.runs} == {(0.02, 64)}


def test_a_part_can_have_settings_for_one_of_its_methods(tmp_path):
    parts = """
[parts.a]
method = ["random", "snip"]
batch_size = 64
[parts.a.methods]
random = { batch_size = 128, learning_rate = 0.03 }
[parts.b]
method = "random"
"""
    a, b = read_study(write(tmp_path, HEAD + parts)).parts
    chosen = {run.method: (run.batch_size, run.learning_rate) for run in a.runs}
    assert chosen == {"random": (128, 0.03), "snip": (64, configure().learning_rate)}
    assert {run.batch_size for run in b.runs} == {256}


def test_parts_and_seeds_can_be_chosen(tmp_path):
    study = read_study(write(tmp_path, SMALL))
    assert [part.name for part in study.choose(["again"]).parts] == ["again"]
    assert len(study.runs) == 3
    first = read_study(write(tmp_path, HEAD + '[parts.a]\nmethod = "random"\n')).choose(
        [], seeds=1
    )
    assert [run.seed for run in first.runs] == [0, 0]
    with pytest.raises(ValueError, match=r"`parts` must be one of .* parts='none'"):
        study.choose(["none"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[every", "is not a valid study"),
        ("[every]\nk = 3\n", "There is no table"),
        ('[parts.a]\nmethod = "pruning"\n', "`method` must be one of"),
        ('[parts.a]\nmethod = "random"\nepoch = 3\n', "a name in `parts.a`"),
        ('[part.a]\nmethod = "random"\n', "a name in the file"),
        ("[parts.a.methods]\nrandm = {}\n", "a name in `parts.a.methods`"),
        (
            '[parts.a]\nmethod = "random"\n[parts.a.methods]\nsnip = {k = 1}\n',
            "a name in `parts.a.methods`` must be one of 'random'",
        ),
        (
            '[parts.a]\nmethod = "random"\n[parts.a.methods]\nrandom = {K = 1}\n',
            "a name in `parts.a.methods.random`",
        ),
        ('[parts.a]\nreports = ["all"]\n', "`reports` must be one of"),
        ('[parts.a]\nmethod = "random"\nk = 0\n', "`k` must be an integer"),
        (
            '[parts.a]\nmethod = "dense"\ncontrol = "shuffled"\n',
            "A `control` needs a method",
        ),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as raised:
        read_study(path)
    assert str(path) in str(raised.value)


# Setting -> values of a wrong type, unknown, or out of range, as TOML has them.
WRONG = {
    "dataset": ['"digit"', "3", "[]", '"none"', '["digits", "digit"]'],
    "model": ['"percepton"', "{}", "[]", '"none"', "[[]]"],
    "method": ['"randm"', "true", "[]", '"none"', '["random", "randm"]'],
    "sparsity": ["1.0", "-0.1", "nan", "95", '"0.9"', "true", "[]", "[0.9, 1]"],
    "seed": ["-1", "0.5", '"0"', "true", "[]", '"none"', "[0, -1]"],
    "epochs": ["0", "2.0", '"3"', "true", "[]", '"none"', "[3, 0]"],
    "batch_size": ["0", "32.0", '"32"', "[]", '"none"'],
    "optimizer": ['"adm"', "1", "[]", '"none"'],
    "learning_rate": ["0", "-1.0", "nan", "inf", '"fast"', "true", "[]", '"none"'],
    "weight_decay": ["-0.1", "1.0", "nan", "false", '"some"', "[]", '"none"'],
    "validation_fraction": ["0", "1.0", '"some"', "true", "[]", '"none"'],
    "jit_compile": ["'yes'", "1", "0", "[]", '"none"', "[true, 'no']"],
    "prune_epochs": ["0", "1.5", '"3"', "[]", '"none"'],
    "k": ["0", "16.0", '"many"', "true", "[]", '"none"', "[[4]]"],
    "fitness": ['"magnitud"', "1", "[]", '"none"'],
    "selection": ['"units"', "1", "[]", '"none"'],
    "criterion": ['"movment"', "1", "[]", "1979-05-27"],
    "restarts": ["-0.1", "1.5", '"auto"', "true", "[]"],
    "age": ["-0.1", "1.5", '"old"', "true", "[]"],
    "curve": ["0", "1.5", '"steep"', "true", "[]"],
    "memory": ["-0.1", "1.5", '"long"', "true", "[]"],
    "growth": ['"magnitude"', "1", "[]", '"none"'],
    "distribution": ['"ERK"', "1", "[]", "{}"],
    "control": ['"shufled"', "1", "[]"],
    "mask_seed": ["-1", "1.5", '"one"', "[]"],
}
PLACES = ["every", "models.convnet", "methods.snip", "parts.a", "parts.a.methods.snip"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CHECKS)
def test_a_wrong_value_is_refused_wherever_it_stands(tmp_path, name, place):
    for value in WRONG[name]:
        # A part and `every` take lists; no run uses the settings of the others.
        text = f"[{place}]\n{name} = {value}\n"
        if place != "parts.a":
            text += '[parts.a]\nmethod = ["dense", "snip"]\n'
        if name in ("model", "method") and place not in ("every", "parts.a"):
            message = rf"a name in `{place}`` must be one of .*Received: .*{name}"
        else:
            message = rf"`{place}`: .*`{name}`.*Received: {name}="
        with pytest.raises(ValueError, match=message):
            read_study(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3\n[parts.a]", "`title` must be a text"),
        ("every = 3\n[parts.a]", "`every` must be a table"),
        ("models = 3\n[parts.a]", "`models` must be a table"),
        ("methods = []\n[parts.a]", "`methods` must be a table"),
        ("parts = 3", "`parts` must be a table"),
        ("[parts]\na = 3", "`parts.a` must be a table"),
        ("[[parts.a]]", "`parts.a` must be a table"),
        ("[every]\nK = 3\n[parts.a]", "a name in `every`` must be one of"),
        ("[every]\ntitle = 'a'\n[parts.a]", "a name in `every`"),
        ("[models.foo]\n[parts.a]", "a name in `models`` .* 'autoencoder'.*foo"),
        ("[models]\nconvnet = 3\n[parts.a]", "`models.convnet` must be a table"),
        ("[models.convnet]\nK = 3\n[parts.a]", "a name in `models.convnet`"),
        ("[methods.foo]\n[parts.a]", "a name in `methods`` .* 'combination'.*foo"),
        ("[methods.snip]\nK = 3\n[parts.a]", "a name in `methods.snip`"),
        ("[parts.a]\nmethods = 3", "`parts.a.methods` must be a table"),
        ("[parts.a.methods]\ndense = 3", "`parts.a.methods.dense` must be a table"),
        ("[parts.a]\ntitle = []", "`parts.a`: `title` must be a text"),
        ("[parts.a]\nrows = 'method'", "`rows` must be a list"),
        ("[parts.a]\nrows = []", "`rows` must be a list"),
        ("[parts.a]\nrows = ['methods']", "`rows` must be one of .*'method'"),
        ("[parts.a]\nrows = [1]", "`rows` must be one of"),
        ("[parts.a]\ncolumns = 'sparsities'", "`columns` must be one of"),
        ("[parts.a]\ncolumns = ['k']", "`columns` must be one of"),
        ("[parts.a]\nreports = 'dots'", "`reports` must be a list"),
        ("[parts.a]\nreports = []", "`reports` must be a list"),
        ("[parts.a]\nreports = ['dot']", "`reports` must be one of"),
        ("[parts.a]\nreports = ['pca']", "'pca' needs `model` 'autoencoder'"),
        ("[parts.a]\nreports = ['rank_correlation']", "needs runs that differ"),
        ("[parts.a]\nreports = ['effective_sparsity']", "needs a `sparsity`"),
        ("[parts.a]\nreports = ['lines']\ncolumns = 'method'", "needs numbers"),
        ("[parts.a]\nmodel = ['perceptron', 'autoencoder']", "need one measure"),
        ("[parts.a]\nmethod = 'hand_over'\nprune_epochs = 1", "must be 2 or more"),
        ("[parts.a]\nmethod = 'snip'\nepochs = 2\nprune_epochs = 3", "not exceed"),
        (
            "[parts.a]\nmethod = 'random'\ndistribution = 'global'",
            "ranks all weights",
        ),
        (
            "[parts.a]\nmethod = 'k_starts'\ndistribution = 'global'\n"
            "selection = 'layer'",
            "`parts.a`: .*selection",
        ),
        ("[parts.'a/b']", "the name of a part"),
        ("[parts.'']", "the name of a part"),
    ],
)
def test_a_wrong_table_name_or_report_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_study(write(tmp_path, text))


def test_the_command_refuses_a_typo_before_the_first_run(tmp_path):
    part = '[parts.b]\nmethod = "k_starts"\nfitness = "magnitud"\n'
    path = write(tmp_path, SMALL + part)
    result = CliRunner().invoke(app, ["study", str(path)])
    assert result.exit_code == 2
    assert "`parts.b`: `fitness` must be one of 'combined'" in result.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_none_can_be_one_of_the_values_of_a_setting(tmp_path):
    parts = '[parts.a]\nmethod = "random"\ncontrol = ["none", "shuffled"]\n'
    (part,) = read_study(write(tmp_path, HEAD + parts)).parts
    assert {run.control for run in part.runs} == {None, "shuffled"}


def test_none_comes_first_among_the_columns_of_a_table(tmp_path):
    part = 'method = "snip"\ncolumns = "criterion"\ncriterion = ["movement", "none"]'
    study = read_study(write(tmp_path, f"[parts.a]\n{part}\n"))
    results = StudyResults(tmp_path)
    for run, error in zip(study.runs, (0.02, 0.03), strict=True):
        settings = run.as_dict()
        record = {**settings, "achieved_sparsity": 0.9, "settings": settings}
        results.add({**record, "test_error": error})
    page, *_ = write_reports(study, results, tmp_path)
    assert "| method   |   none |   movement |" in page.read_text()


def test_the_study_of_this_repository_is_valid(request):
    study = read_study(request.config.rootpath / "docs" / "study" / "study.toml")
    assert {run.seed for run in study.parts[0].runs} == {0, 1, 2, 3, 4}


@real_data
def test_the_tables_of_this_repository_are_those_of_its_runs(request, tmp_path):
    folder = request.config.rootpath / "docs" / "study"
    study, results = read_study(folder / "study.toml"), StudyResults(folder)
    page, *_ = write_reports(study, results, tmp_path, DATA_DIR)
    assert page.read_text() == (folder / page.name).read_text()


NEVER_DENSE = (
    HEAD
    + """
[parts.cost]
method = ["dense", "combination", "combination_from_90", "rigl"]
sparsity = 0.95
reports = ["training_density"]
"""
)


def test_density_of_a_training_is_the_area_under_its_curve(tmp_path, quiet):
    study = read_study(write(tmp_path, NEVER_DENSE))
    results = run_study(study, tmp_path, console=quiet)
    runs = {run["method"]: run for run in Results(tmp_path / "digits-perceptron").runs}
    assert mean_density(runs["rigl"]) == pytest.approx(0.05, abs=1e-3)
    never, dense = (
        mean_density(runs[m]) for m in ("combination_from_90", "combination")
    )
    assert 0.05 < never < 0.1 < dense < 1.0
    page, figure = write_reports(study, results, tmp_path)
    assert figure.name == "cost-density.png"
    assert f"{100 * never:.2f}" in page.read_text()


# Its runs


def test_runs_are_stored_one_by_one_and_never_twice(tmp_path, quiet):
    study = read_study(write(tmp_path, SMALL))
    run_study(study.choose(["again"]), tmp_path, console=quiet)
    stored = Results(tmp_path / "digits-perceptron").runs
    assert [run["method"] for run in stored] == ["dense", "random"]
    results = run_study(study, tmp_path, console=quiet)
    again = Results(tmp_path / "digits-perceptron").runs
    assert again[:2] == stored
    assert [run["method"] for run in again[2:]] == ["dissipating_gradients"]
    for record in again:
        assert len(record["epoch_seconds"]) == len(record["epoch_nonzeros"]) == 4
    page, *figures = write_reports(study, results, tmp_path)
    text = page.read_text()
    assert [figure.name for figure in figures] == [
        "methods-dots.png",
        "methods-effective.png",
        "methods-error.png",
        "methods-paired-dissipating_gradients.png",
        "methods-price.png",
    ]
    assert all(f"({figure.name})" in text for figure in figures)
    errors = {run["method"]: 100 * run["test_error"] for run in again}
    ahead = errors["dissipating_gradients"] - errors["dense"]
    assert f"{ahead:+.2f} ({int(ahead < 0)} of 1)" in text
    assert "## Which method" in text
    assert "3 of 3 runs, 1 seed: test error in %" in text
    error = next(run["test_error"] for run in again if run["method"] == "dense")
    assert f"{100 * error:.2f}" in text
    assert "## The same runs" in text


def test_data_that_a_later_part_needs_are_missed_before_the_first_run(tmp_path, quiet):
    parts = '[parts.a]\nmethod = "random"\n[parts.b]\ndataset = "mnist"\n'
    study = read_study(write(tmp_path, HEAD + parts))
    with pytest.raises(OSError, match="empty"):
        run_study(study, tmp_path, data_dir=tmp_path / "empty", console=quiet)
    assert not list(tmp_path.rglob("results.json"))


def test_a_collapse_is_an_outcome_and_not_the_end(tmp_path, quiet):
    parts = '[parts.a]\nmethod = "random"\nseed = 0\nsparsity = [0.9995, 0.9]\n'
    study = read_study(write(tmp_path, HEAD + parts))
    results = run_study(study, tmp_path, console=quiet)
    collapsed, trained = (results.find(run) for run in study.runs)
    assert "leave no path" in collapsed["failed"]
    assert "failed" not in trained
    text = write_reports(study, results, tmp_path)[0].read_text()
    assert "random at 99.95 %, seed 0, failed: The masks leave no path" in text


@pytest.mark.whole_matrix
def test_a_dask_scheduler_trains(tmp_path, quiet):
    distributed = pytest.importorskip("distributed")
    study = read_study(write(tmp_path, SMALL)).choose(["again"])
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        protocol="tcp",
        host="127.0.0.1",
    ) as cluster:
        address = cluster.scheduler_address
        results = run_study(study, tmp_path, scheduler=address, console=quiet)
    assert all(results.find(run) for run in study.runs)


def test_the_command_spreads_runs_over_processes_and_reports(tmp_path):
    path = write(tmp_path, SMALL)
    command = [sys.executable, "-m", "keras_initprune.lab.cli", "study", str(path)]
    command += ["--parts", "again", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stdout
    assert "results.md" in done.stdout.replace("\n", "")
    assert (tmp_path / "results.md").exists()
    again = subprocess.run(
        [*command, "--report-only"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "left" not in again.stdout


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_ends_the_processes_too_and_keeps_what_is_finished(tmp_path, number):
    parts = '[parts.a]\nmethod = "random"\nepochs = 2000\nprune_epochs = 2\n'
    short = '[parts.b]\nmethod = "dense"\nseed = 0\nsparsity = 0.9\n'
    path = write(tmp_path, HEAD + short + parts)
    command = [sys.executable, "-m", "keras_initprune.lab.cli", "study", str(path)]
    killed = subprocess.Popen(
        [*command, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stored = tmp_path / "digits-perceptron/results.json"
    wait_until(stored.exists, killed, seconds=120)
    assert killed.poll() is None
    killed.send_signal(number)
    # Whoever is left would hold the other end of these.
    _, errors = killed.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert killed.returncode == 130
        assert "1 of 5 runs are kept" in errors.replace("\n", " ")
    wait_until(lambda: not is_group_alive(killed.pid), seconds=60)
    assert len(Results(stored.parent).runs) == 1


def is_group_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# What its runs can be


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_change_masks_but_not_their_sparsity(control):
    run = configure(
        method="dissipating_gradients",
        sparsity=0.9,
        epochs=2,
        batch_size=256,
        control=control,
    )
    record = runner.train(run).record
    assert record["achieved_sparsity"] == pytest.approx(0.9, abs=1e-4)
    # The network of a control is sparse from its first epoch.
    assert set(record["epoch_nonzeros"]) == {5020}


@pytest.mark.parametrize("method", ["random_after_epochs", "combination"])
def test_one_network_can_meet_many_random_masks(method):
    run = configure(method=method, epochs=2, batch_size=32)
    records = [runner.train(run.replace(mask_seed=seed)).record for seed in (1, 2)]
    fitness = [record["mask_fitness"] for record in records]
    assert fitness[0].keys() == {"magnitude", "gradient", "movement"}
    assert fitness[0] != fitness[1]
    assert all(np.isfinite(list(values.values())).all() for values in fitness)
    assert "mask_fitness" not in runner.train(run).record


@pytest.mark.parametrize(
    "model", ["perceptron", "autoencoder", "convnet", "resnet", "vit"]
)
def test_small_networks_have_no_more_parameters(model):
    from keras_initprune.lab import models

    arguments = {"input_shape": (8, 8, 1)}
    build = models.get(model)
    whole = build(**arguments).count_params()
    sizes = [
        build(**arguments, **small_widths(model, sparsity, arguments)).count_params()
        for sparsity in (0.0, 0.5, 0.9)
    ]
    assert sizes[0] == whole
    assert whole > sizes[1] > sizes[2]
    assert sizes[1] < 0.55 * whole
