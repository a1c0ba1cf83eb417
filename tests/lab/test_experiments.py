import dataclasses
import io
import itertools
import json
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import rich.console
from matrix import cells

from keras_initprune.arrays.distributions import check_distribution
from keras_initprune.arrays.selection import SELECTIONS
from keras_initprune.callbacks import checks
from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.criteria.fitness import FITNESS
from keras_initprune.lab.runs import (
    comparison,
    configuration,
    methods,
    progress,
    runner,
)
from keras_initprune.lab.runs.comparison import measure_of, summarise
from keras_initprune.lab.runs.configuration import (
    DEFAULTS,
    METHODS,
    TASKS,
    Configuration,
    configure,
)
from keras_initprune.lab.runs.results import Results
from keras_initprune.plots.intervals import mean_and_half_width

DENSE = ("dense", "small_dense")
PRUNING = [name for name in methods.METHODS if name not in DENSE]
ONE_OF_EACH = ("random", "snip", "hand_over", "combination", "granet", "set")


def record(method="random", sparsity=0.9, seed=0, test_error=0.04, **settings):
    if method == "dense":
        sparsity = 0.0
    run = configure("digits", method=method, sparsity=sparsity, seed=seed, **settings)
    return {
        "dataset": run.dataset,
        "model": run.model,
        "method": method,
        "sparsity": sparsity,
        "achieved_sparsity": sparsity,
        "seed": seed,
        "epochs": run.epochs,
        "test_error": test_error,
        "seconds": 1.5,
        "settings": run.as_dict(),
    }


# Intervals


def test_the_interval_of_three_values_by_hand():
    # s = 1, t(0.975, 2) = 4.3027, n = 3: 4.3027 / sqrt(3).
    mean, half_width = mean_and_half_width([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half_width == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)


def test_one_value_has_a_mean_and_no_interval():
    mean, half_width = mean_and_half_width([0.5])
    assert mean == 0.5
    assert math.isnan(half_width)
    with pytest.raises(ValueError, match="empty"):
        mean_and_half_width([])


# Configurations


def test_every_method_makes_its_callbacks():
    assert tuple(methods.METHODS) == METHODS


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_default_is_valid_and_makes_callbacks(method):
    for dataset, model in itertools.product(DEFAULTS, TASKS):
        made = methods.callbacks(configure(dataset, model, method))
        assert bool(made) == (method not in DENSE)
        described = [checks.describe(callback) for callback in made]
        assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "cifar"}, "`dataset` must be one of 'digits'"),
        ({"model": "transformer"}, "`model` must be one of 'autoencoder'"),
        ({"method": "magic"}, "`method` must be one of 'combination', .*'dense'"),
        ({"method": "random", "sparsity": 1.0}, "`sparsity`"),
        ({"method": "random", "sparsity": 95}, "`sparsity`"),
        ({"sparsity": 0.5}, "dense run removes nothing"),
        ({"seed": -1}, "`seed`"),
        ({"epochs": 0}, "`epochs`"),
        ({"batch_size": 2.5}, "`batch_size`"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"learning_rate": math.nan}, "`learning_rate`"),
        ({"learning_rate": math.inf}, "`learning_rate`"),
        ({"optimizer": "muon"}, "`optimizer` must be one of 'adam', 'sgd'"),
        ({"weight_decay": -0.1}, "`weight_decay`"),
        ({"validation_fraction": 1.0}, "`validation_fraction`"),
        ({"k": 0}, "`k`"),
        ({"fitness": "magnitud"}, "`fitness` must be one of 'combined'"),
        ({"selection": "units"}, "`selection` must be one of 'layer'"),
        ({"criterion": "moved"}, "`criterion` must be one of 'gradient'"),
        ({"distribution": "ERK"}, "`distribution` must be one of 'erk'"),
        ({"jit_compile": "yes"}, "`jit_compile` must be true or false"),
        ({"mask_seed": -1}, "`mask_seed`"),
        ({"method": "random", "epochs": 2, "prune_epochs": 3}, "`prune_epochs`"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        configure(**settings)


def test_names_of_settings_are_those_of_the_arguments():
    assert set(configuration.FITNESS) == set(FITNESS)
    assert set(configuration.CRITERIA) == set(DISSIPATION)
    assert set(configuration.SELECTIONS) == set(SELECTIONS)
    for distribution in configuration.DISTRIBUTIONS:
        assert check_distribution(distribution, ranked=True) == distribution
    assert list(configuration.CHECKS) == [
        field.name for field in dataclasses.fields(Configuration)
    ]


def test_a_shorter_training_prunes_sooner():
    assert configure("mnist", method="random").prune_epochs == 6
    assert configure(method="random", epochs=9).prune_epochs == 3
    assert configure(method="random", epochs=3).prune_epochs == 2
    assert configure(method="random", epochs=1).prune_epochs == 1


@pytest.mark.parametrize(
    ("settings", "kind", "decay"),
    [
        ({"optimizer": "adam"}, keras.optimizers.Adam, None),
        ({"optimizer": "sgd", "weight_decay": 0.01}, keras.optimizers.SGD, 0.01),
    ],
)
def test_the_rate_stays_until_the_mask_is_final_and_then_falls(settings, kind, decay):
    run = configure(
        method="random", epochs=4, prune_epochs=2, learning_rate=0.5, **settings
    )
    data = runner.load_data(run)
    optimizer = runner.build(run, data).optimizer
    assert type(optimizer) is kind
    assert optimizer.weight_decay == decay
    steps = math.ceil(len(data.x_train) / run.batch_size)
    rates = []
    for epoch in range(5):
        optimizer.iterations.assign(epoch * steps)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.5, 0.25, 0.0], atol=1e-6)


def test_a_training_may_end_when_its_mask_is_final():
    run = configure(method="random", epochs=2, prune_epochs=2, batch_size=256)
    assert np.isfinite(runner.train(run).record["test_error"])


def test_configurations_survive_json():
    run = configure("mnist", "autoencoder", "combination", sparsity=0.98, seed=4)
    assert Configuration(**json.loads(json.dumps(run.as_dict()))) == run


# Methods


def test_the_hand_over_needs_an_epoch_for_each_of_its_methods():
    run = configure("mnist", method="hand_over", sparsity=0.9375, prune_epochs=4)
    k_starts, dissipating = methods.callbacks(run)
    assert (k_starts.sparsity, k_starts.epochs) == (0.5, 1)
    assert (dissipating.sparsity, dissipating.epochs) == (0.9375, 3)
    with pytest.raises(ValueError, match="prune_epochs"):
        methods.callbacks(run.replace(prune_epochs=1))


def test_the_combination_takes_the_settings_of_its_run():
    run = configure(
        "mnist",
        method="combination",
        sparsity=0.95,
        epochs=20,
        prune_epochs=6,
        k=4,
        restarts=0.25,
    )
    (made,) = methods.callbacks(run)
    assert (made.sparsity, made.epochs, made.k, made.restarts) == (0.95, 6, 4, 0.25)
    (sparse,) = methods.callbacks(run.replace(method="combination_from_90"))
    assert (sparse.start_sparsity, made.start_sparsity) == (0.9, 0.0)
    (other,) = methods.callbacks(run.replace(growth="magnitudes"))
    assert type(other) is not type(made)
    assert isinstance(other, type(made))


def test_a_description_names_every_argument():
    (callback,) = methods.callbacks(configure(method="k_starts", sparsity=0.95, k=4))
    described = checks.describe(callback)
    assert described["callback"] == "KStarts"
    assert (described["k"], described["sparsity"], described["seed"]) == (4, 0.95, 0)


# Planning


def test_dense_is_planned_once_per_seed_and_seeds_go_round_last():
    runs = comparison.plan(configure(), methods.METHODS, [0.9, 0.95, 0.98], range(3))
    assert len(runs) == 3 * (1 + 3 * (len(methods.METHODS) - 1))
    assert sum(run.method == "dense" for run in runs) == 3
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.identity for run in runs}) == len(runs)


def test_repeated_choices_are_planned_once():
    runs = comparison.plan(configure(), ["random", "random"], [0.9, 0.9], [0])
    assert len(runs) == 1


@pytest.mark.parametrize("empty", range(3))
def test_a_plan_needs_methods_sparsities_and_seeds(empty):
    choices = [["random"], [0.9], [0]]
    choices[empty] = []
    with pytest.raises(ValueError, match="must not be empty"):
        comparison.plan(configure(), *choices)


# Results


def test_added_runs_are_read_back_and_found(tmp_path):
    Results(tmp_path).add(record(seed=0))
    results_again = Results(tmp_path)
    results_again.add(record(seed=1))
    stored = Results(tmp_path)
    assert stored.runs == [record(seed=0), record(seed=1)]
    assert stored.find(configure(method="random", seed=1)) == record(seed=1)
    assert stored.find(configure(method="random", seed=2)) is None


def test_what_runs_share_is_stored_once(tmp_path):
    versions = {"keras": "3.15.1"}
    runs = [record(seed=seed) for seed in range(3)]
    runs += [record("k_starts", seed=0, k=4), record("dense", seed=0, test_error=None)]
    runs = [{**run, "versions": versions} for run in runs]
    runs[2]["versions"] = {"keras": "3.15.2"}
    stored = Results(tmp_path)
    for run in runs:
        stored.add(run)
    assert Results(tmp_path).runs == runs
    text = (tmp_path / "results.json").read_text()
    assert text.count('"weight_decay"') == text.count('"3.15.1"') == 1
    assert text.count('"k": 16') == text.count('"k": 4') == 1
    _, _, usual, _, *lines, _, _ = text.splitlines()
    assert '"batch_size": 32' in usual
    assert lines[1] == (
        '{"settings": {"method": "random", "sparsity": 0.9, "seed": 1}, '
        '"achieved_sparsity": 0.9, "test_error": 0.04, "seconds": 1.5},'
    )


def test_a_run_without_versions_gets_none_of_another_run(tmp_path):
    runs = [{**record(seed=0), "versions": {"keras": "3.15.1"}}, record(seed=1)]
    for run in runs:
        Results(tmp_path).add(run)
    assert Results(tmp_path).runs == runs


def test_a_list_of_whole_records_is_read_and_shortened(tmp_path):
    runs = [record(seed=seed) for seed in range(3)]
    (tmp_path / "results.json").write_text(json.dumps(runs))
    stored = Results(tmp_path)
    assert stored.runs == runs
    stored.add(runs[-1])
    assert Results(tmp_path).runs == runs
    assert (tmp_path / "results.json").read_text().count('"weight_decay"') == 1


def test_runs_of_another_process_are_kept(tmp_path):
    one, other = Results(tmp_path), Results(tmp_path)
    one.add(record(seed=0))
    other.add(record(seed=1))
    assert len(Results(tmp_path).runs) == 2


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    stored = Results(tmp_path)
    stored.add(record(seed=0))

    def fail(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        stored.add(record(seed=1))
    assert Results(tmp_path).runs == [record(seed=0)]
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["results.json"]


ADD = """
import sys
from keras_initprune.lab.runs.configuration import configure
from keras_initprune.lab.runs.results import Results

results = Results(sys.argv[1])
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 100):
    run = configure(seed=seed)
    own = {name: getattr(run, name) for name in ("dataset", "model", "method")}
    own |= {"sparsity": 0.0, "achieved_sparsity": 0.0, "seed": seed, "epochs": 15}
    results.add({**own, "settings": run.as_dict()})
"""


def test_processes_that_add_at_the_same_time_lose_nothing(tmp_path):
    adding = [
        subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path), str(first)])
        for first in (0, 100)
    ]
    assert [process.wait(timeout=180) for process in adding] == [0, 0]
    stored = Results(tmp_path).runs
    assert sorted(run["seed"] for run in stored) == list(range(200))


@pytest.mark.parametrize(
    "written",
    [
        lambda settings: dict(reversed(settings.items())),
        lambda settings: {
            name: float(value) if type(value) is int else value
            for name, value in settings.items()
        },
    ],
    ids=["other order", "ints as floats"],
)
def test_a_run_is_found_however_another_program_writes_its_settings(tmp_path, written):
    run = record(method="k_starts", sparsity=0.9, seed=1)
    other = {**run, "settings": written(run["settings"])}
    (tmp_path / "results.json").write_text(json.dumps([other]))
    results = Results(tmp_path)
    found = results.find(configure(method="k_starts", seed=1))
    assert found == run
    # Tables show the values.
    assert repr(found["settings"]["k"]) == "16"
    results.add(run)
    assert len(Results(tmp_path).runs) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum": 0.5}, "'momentum' is unknown"),
        ({"momentum": None}, "'momentum' is unknown"),
        ({"jit_compile": ...}, "'jit_compile' is missing"),
        ({"method": "magic"}, "`method` must be one of"),
        ({"epochs": "15"}, "`epochs` must be an integer"),
    ],
)
def test_runs_of_a_version_with_other_settings_are_refused(tmp_path, change, message):
    run = record()
    settings = {**run["settings"], **change}
    run["settings"] = {name: v for name, v in settings.items() if v is not ...}
    text = json.dumps([run])
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=f"another version .*{message}.*--out"):
        Results(tmp_path)
    assert (tmp_path / "results.json").read_text() == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"dataset": "dig', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"", "damaged"),
        (b'{"dataset": "digits"}', "not a list of runs"),
        (b'[{"dataset": "digits"}]', "not a list of runs"),
        (b'[{"settings": "digits"}]', "not a list of runs"),
        (b'""', "not a list of runs"),
        (b'{"format": 2, "usual": {"settings": {}}}', "not a list of runs"),
        (b'{"format": 2, "usual": {"settings": {}}, "runs": {}}', "not a list of runs"),
        (b'{"format": 2, "usual": {}, "runs": [{}]}', "not a list of runs"),
        (b'{"format": 3, "runs": []}', "another version .*format is 3"),
    ],
)
def test_a_foreign_file_is_refused_and_kept(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{message}.*--out"):
        Results(tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "other",
    [
        configure("mnist"),
        configure("digits", "autoencoder"),
        configure(epochs=7),
        configure(k=4),
    ],
)
def test_runs_with_other_settings_are_refused(tmp_path, other):
    stored = Results(tmp_path)
    stored.add(record())
    stored.check_same_comparison(configure(method="k_starts", sparsity=0.5, seed=9))
    with pytest.raises(ValueError, match="Choose another --out"):
        stored.check_same_comparison(other)


def test_a_folder_that_cannot_be_written_is_an_error_at_once(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(OSError, match="Cannot write to the folder"):
        Results(file)
    with pytest.raises(OSError, match="Cannot write to the folder"):
        Results(file / "below")


# Summaries and tables


def test_differences_are_paired_by_seed():
    runs = [
        record("dense", seed=0, test_error=0.01),
        record("dense", seed=1, test_error=0.05),
        record("random", seed=0, test_error=0.02),
        record("random", seed=1, test_error=0.06),
        record("random", seed=2, test_error=0.50),  # No dense run to compare with.
    ]
    dense, random = summarise(runs)
    assert math.isnan(dense.difference)
    assert (random.seeds, random.mean) == (3, pytest.approx(0.58 / 3))
    assert random.difference == pytest.approx(0.01)
    assert random.difference_half_width == pytest.approx(0.0)


def test_summaries_rise_in_sparsity_and_keep_the_order_of_the_methods():
    runs = [
        record("combination", 0.9),
        record("random", 0.98),
        record("random", 0.9),
        record("dense"),
    ]
    order = [(line.sparsity, line.method) for line in summarise(runs)]
    assert order == [
        (0.0, "dense"),
        (0.9, "random"),
        (0.9, "combination"),
        (0.98, "random"),
    ]


def test_runs_without_a_common_measure_are_refused():
    with pytest.raises(ValueError, match="test_error"):
        measure_of([{"test_error": 0.1}, {"test_mse": 0.1}])


def test_markdown_marks_the_best_of_every_sparsity():
    runs = [
        record("random", 0.9, 0, 0.04),
        record("random", 0.9, 1, 0.06),
        record("combination", 0.9, 0, 0.02),
    ]
    lines = comparison.markdown(runs).splitlines()
    (random,) = (line for line in lines if "random" in line)
    (combination,) = (line for line in lines if "combination" in line)
    assert "5.00 ± 12.71" in random
    assert "**2.00**" in combination
    assert "**" not in random


def test_the_table_fits_80_columns_and_cuts_nothing():
    runs = [
        record("dense", seed=0, test_error=0.01),
        record("dense", seed=1, test_error=0.02),
        record("dissipating_gradients", 0.995, 0, 0.80),
        record("dissipating_gradients", 0.995, 1, 0.95),
    ]
    console = rich.console.Console(width=80, file=io.StringIO())
    console.print(comparison.rich_table(runs))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "dissipating_gradients" in text
    assert "…" not in text


# Runs


@pytest.mark.parametrize("method", cells(PRUNING, by_default=ONE_OF_EACH))
def test_a_run_reaches_its_sparsity_and_leaves_a_record(method):
    run = configure(method=method, sparsity=0.9, epochs=3, prune_epochs=2)
    made = runner.train(run).record
    # What grows at random where a pixel is always black stays at zero.
    regrows = method == "set" or method.startswith("combination")
    assert made["achieved_sparsity"] == pytest.approx(
        0.9, abs=0.01 if regrows else 1e-4
    )
    assert 0 < made["test_error"] < 0.9
    # A share of the 360 test images.
    assert made["test_error"] * 360 == pytest.approx(round(made["test_error"] * 360))
    assert made["settings"] == run.as_dict()
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_a_lottery_trains_several_times_and_progress_counts_it():
    epochs = []
    counter = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epochs.append(epoch)
    )
    run = configure(method="lottery_ticket", sparsity=0.9, epochs=1)
    runner.train(run, callbacks=[counter])
    assert len(epochs) == methods.trainings(run) == methods.LOTTERY_ROUNDS + 1
    console = rich.console.Console(file=io.StringIO())
    assert progress.Progress([run], 0, console).epochs == len(epochs)


def test_the_same_seed_pairs_the_methods_and_another_does_not():
    data = runner.load_data(configure())
    weights = {
        (method, seed): runner.build(configure(method=method, seed=seed), data)
        for method, seed in (("dense", 0), ("random", 0), ("dense", 1))
    }
    dense, random, other = (model.get_weights()[0] for model in weights.values())
    np.testing.assert_array_equal(dense, random)
    assert not np.array_equal(dense, other)


def test_the_same_configuration_gives_the_same_result():
    run = configure(method="combination", sparsity=0.9, epochs=2, prune_epochs=2)
    first, second = (runner.train(run).record for _ in range(2))
    assert first["test_error"] == second["test_error"]


def test_an_autoencoder_is_judged_by_its_reconstruction():
    run = configure(model="autoencoder", epochs=1, validation_fraction=0.5)
    made = runner.train(run, validate_epochs=True)
    assert 0 < made.record["test_mse"] < 1
    assert 0 < made.record["validation_mse"] < 1
    assert "test_error" not in made.record
    assert made.history["val_loss"][-1] == pytest.approx(made.record["validation_mse"])


def test_a_training_that_diverges_says_so():
    run = configure(model="autoencoder", epochs=1)
    data = runner.load_data(run)
    data.x_train[:] = np.nan
    with pytest.raises(ValueError, match=r"became nan.*learning_rate"):
        runner.train(run, data)
