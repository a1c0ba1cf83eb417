"""Searches that train: sparse networks come back, failures do not end them."""

import keras
import keras_tuner
import numpy as np
import pytest

from keras_initprune import constraints, get_masks, sparsity
from keras_initprune.lab.runs import runner
from keras_initprune.lab.runs.configuration import configure
from keras_initprune.lab.search.search import RunHyperModel
from keras_initprune.tuner import (
    AccuracyAtSparsity,
    PruningHyperModel,
    PruningSpace,
    PruningTuner,
    SearchResults,
)

pytestmark = pytest.mark.slow

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 12)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")
FIT = {
    "x": X,
    "y": Y,
    "validation_data": (X, Y),
    "epochs": 4,
    "batch_size": 16,
    "verbose": 0,
}
SMALL = {
    "k": [4],
    "k_starts_epochs": [1],
    "dissipating_epochs": [1],
    "distributions": ["erk"],
    "selections": ["recombine"],
    "fitness": ["magnitude"],
}


def build(hp):
    hidden = keras.layers.Dense(hp.Choice("units", [16, 24]), name="hidden")
    output = keras.layers.Dense(2, name="output")
    model = keras.Sequential([keras.Input((12,)), hidden, output])
    rate = hp.Fixed("rate", 0.02)
    compile_model(model, rate)
    return model


def compile_model(model, rate):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False
    )


def make_tuner(folder, build=build, objective=None, trials=2, **arguments):
    space = PruningSpace(**{**SMALL, **arguments.pop("space", {})})
    return PruningTuner(
        PruningHyperModel(build, space),
        objective or AccuracyAtSparsity(0.5),
        max_trials=trials,
        directory=folder,
        **arguments,
    )


def test_a_search_ends_in_a_sparse_network_that_stays_sparse(tmp_path):
    space = {"sparsities": [0.8], "methods": ["combination"]}
    tuner = make_tuner(tmp_path, algorithm="grid", space=space)
    tuner.search(**FIT)
    results = SearchResults(tuner)
    assert {r["hyperparameters"]["units"] for r in results.completed} == {16, 24}
    best = results.best()
    assert best["metrics"]["sparsity"] == pytest.approx(0.8, abs=0.005)
    assert best["score"] == best["metrics"]["val_accuracy"]
    assert results.meets_objective(best)
    assert best in results.front()

    model = results.best_model()
    masks = get_masks(model)
    _, accuracy = model.evaluate(X, Y, verbose=0)
    assert accuracy == pytest.approx(best["metrics"]["val_accuracy"], abs=1e-6)
    # No callback of ours: the constraints alone keep the zeros.
    model.fit(X, Y, epochs=1, verbose=0)
    for path, weight in constraints.masked_weights(model).items():
        assert not weight.numpy()[~masks[path]].any()
    assert sparsity(model) == pytest.approx(0.8, abs=0.005)

    # The callbacks do it again, to the bit.
    hp = tuner.get_best_hyperparameters()[0]
    again = tuner.hypermodel.build(hp)
    again.fit(**FIT, callbacks=results.callbacks())
    for path, mask in get_masks(again).items():
        np.testing.assert_array_equal(mask, masks[path])
    names = [each["callback"] for each in results.describe_callbacks()]
    assert names == ["Combination"]

    # Made again, the tuner knows all of it and has nothing left to do.
    other = make_tuner(tmp_path, algorithm="grid", space=space)
    other.search(**FIT)
    assert SearchResults(other).records == results.records


def test_a_trial_that_collapses_or_diverges_fails_with_its_reason(tmp_path):
    def build_or_break(hp):
        model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(2)])
        compile_model(model, hp.Choice("rate", [0.02, 1e38]))
        return model

    tuner = make_tuner(
        tmp_path,
        build_or_break,
        algorithm="grid",
        trials=4,
        # Of 24 weights 0.99 leaves none.
        space={"sparsities": [0.5, 0.99], "methods": ["k_starts"]},
    )
    tuner.search(**FIT)
    results = SearchResults(tuner)
    assert len(results.records) == 4
    [completed] = results.completed
    assert results.best() is completed
    assert completed["hyperparameters"]["pruning/sparsity"] == 0.5
    reasons = sorted(record["reason"] for record in results.failed)
    assert any("loss became nan" in reason for reason in reasons)
    assert any("would be removed" in reason for reason in reasons)
    assert not any("Traceback" in reason or "Error:" in reason for reason in reasons)

    pytest.importorskip("pandas")
    table = results.to_pandas()
    assert list(table.index) == [record["trial"] for record in results.records]
    row = table.loc[completed["trial"]]
    assert row["status"] == "completed"
    assert row["pruning/sparsity"] == 0.5
    assert row["val_accuracy"] == completed["metrics"]["val_accuracy"]
    assert table["val_accuracy"].isna().sum() == 3


def test_hyperband_goes_on_with_masks_and_does_not_select_again(tmp_path):
    space = {"sparsities": [0.5, 0.75], "methods": ["k_starts"], "k": [2, 3, 4, 5]}
    tuner = make_tuner(
        tmp_path, algorithm="hyperband", epochs=4, trials=4, space=space, seed=1
    )
    tuner.search(**FIT)
    trials = tuner.oracle.trials.values()
    resumed = [t for t in trials if "tuner/trial_id" in t.hyperparameters.values]
    assert resumed
    for trial in resumed:
        hp = trial.hyperparameters.values
        assert (hp["tuner/initial_epoch"], hp["tuner/epochs"]) == (2, 4)
        parent = tuner.load_model(tuner.oracle.trials[hp["tuner/trial_id"]])
        child = tuner.load_model(trial)
        for path, mask in get_masks(parent).items():
            np.testing.assert_array_equal(get_masks(child)[path], mask)
        assert sparsity(child) == sparsity(parent) > 0
        # The optimizer went on, too: 4 steps per epoch.
        assert int(parent.optimizer.iterations) == 8
        assert int(child.optimizer.iterations) == 16


def test_keras_tuners_own_tuners_keep_a_sparse_checkpoint(tmp_path):
    space = PruningSpace(sparsities=[0.8], methods=["dissipating_gradients"], **SMALL)
    tuner = keras_tuner.RandomSearch(
        PruningHyperModel(build, space),
        "val_accuracy",
        max_trials=1,
        directory=tmp_path,
    )
    tuner.search(**FIT)
    with pytest.warns(UserWarning, match="optimizer"):
        [model] = tuner.get_best_models()
    assert sparsity(model) == pytest.approx(0.8, abs=0.005)
    assert constraints.masked_weights(model)


def test_mistakes_of_the_user_end_the_search_at_once(tmp_path):
    tuner = make_tuner(tmp_path, space={"methods": ["combination"]})
    with pytest.raises(keras_tuner.errors.FatalError, match="`epochs` must be more"):
        tuner.search(**{**FIT, "epochs": 2})
    with pytest.raises(keras_tuner.errors.FatalError, match="must be built"):
        make_tuner(tmp_path / "b", lambda hp: keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="`hypermodel` must be a `PruningHyperModel`"):
        PruningTuner(build)
    with pytest.raises(ValueError, match="`epochs` must be given"):
        make_tuner(tmp_path, algorithm="hyperband")
    with pytest.raises(ValueError, match="`executions_per_trial`"):
        make_tuner(tmp_path, executions_per_trial=2)
    for name in ("max_minutes", "patience"):
        with pytest.raises(ValueError, match=f"`{name}`"):
            make_tuner(tmp_path, **{name: -1.0})
    with pytest.raises(ValueError, match="`algorithm` must be one of"):
        make_tuner(tmp_path, algorithm="luck")


def test_a_search_without_a_completed_trial_says_why(tmp_path):
    tuner = make_tuner(tmp_path)
    with pytest.raises(ValueError, match="No trial was completed"):
        SearchResults(tuner).best()
    pytest.importorskip("pandas")
    assert len(SearchResults(tuner).to_pandas()) == 0


def test_a_trial_does_not_depend_on_those_before_it():
    run = configure("digits", epochs=1)
    hypermodel = PruningHyperModel(
        RunHyperModel(run, runner.load_data(run)),
        PruningSpace(methods=["random"], sparsities=[0.5], draws=[0]),
    )
    hp = keras_tuner.HyperParameters()
    first, second = (hypermodel.fit(hp, hypermodel.build(hp)) for _ in range(2))
    del first["seconds"], second["seconds"]
    assert first == pytest.approx(second, rel=1e-4)
