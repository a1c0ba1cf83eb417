"""Searches lose nothing: not to a kill, nor to a worker that dies; without training."""

import json
import time

import keras_tuner
import pytest

from keras_initprune.tuner import AccuracyAtSparsity, ParetoFront, oracles

KINDS = sorted(oracles.ORACLES)
# A third, a half and the whole of 8 epochs.
ARGUMENTS = {"hyperband": {"min_epochs": 2, "max_epochs": 8}}


def make(folder, kind="random", trials=6, objective=None, **arguments):
    oracle = oracles.get(kind)(
        objective=objective or AccuracyAtSparsity(0.5),
        max_trials=trials,
        seed=1,
        **{**ARGUMENTS.get(kind, {}), **arguments},
    )
    oracle._set_project_dir(str(folder), "search")
    oracle.verbose = 0
    if (folder / "search" / "oracle.json").exists():
        oracle.reload()
        return oracle
    hp = keras_tuner.HyperParameters()
    hp.Choice("x", [0.1, 0.5, 0.9])
    with hp.conditional_scope("x", [0.5, 0.9]):
        hp.Choice("y", [1, 2])
    oracle.update_space(hp)
    return oracle


def finish(oracle, trial, status="COMPLETED"):
    score = trial.hyperparameters.get("x") / 2
    if status == "COMPLETED":
        metrics = {"score": score, "val_accuracy": score, "sparsity": 0.9}
        oracle.update_trial(trial.trial_id, metrics)
    trial.status = status
    oracle.end_trial(trial)


def run(oracle, trials=100, tuner="a"):
    done = []
    for _ in range(trials):
        trial = oracle.create_trial(tuner)
        if trial.status == "STOPPED":
            break
        assert trial.status == "RUNNING"
        finish(oracle, trial)
        done.append(trial)
    return done


def values(trial):
    return tuple(sorted(trial.hyperparameters.values.items()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_that_is_made_again_goes_on_where_it_was(tmp_path, kind):
    # The space has five combinations.
    first = run(make(tmp_path, kind, trials=5), trials=2)
    again = make(tmp_path, kind, trials=5)
    assert {trial.score for trial in first} == {
        trial.score for trial in again.trials.values()
    }
    rest = run(again)
    assert len(rest) == 3
    assert len(again.trials) == len(again.end_order) == 5
    if kind in ("grid", "random"):
        assert len({values(trial) for trial in again.trials.values()}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_any_moment_loses_no_finished_trial(tmp_path, kind):
    oracle = make(tmp_path, kind)
    path = tmp_path / "search" / "oracle.json"
    finished, unfinished = oracle.create_trial("a"), oracle.create_trial("b")
    before = path.read_text()
    finish(oracle, finished)
    # Killed after the trial was written, and before the oracle was.
    path.write_text(before)
    again = make(tmp_path, kind)
    assert again.end_order == [finished.trial_id]
    retried = again.create_trial("c")
    assert retried.trial_id == unfinished.trial_id
    assert values(retried) == values(unfinished)
    assert again.create_trial("d").trial_id not in again.end_order


def test_files_are_whole_or_not_there(tmp_path):
    oracle = make(tmp_path)
    run(oracle, trials=2)
    for path in (tmp_path / "search").rglob("*.json"):
        json.loads(path.read_text())
    assert not list((tmp_path / "search").rglob(".*"))
    (tmp_path / "search" / "oracle.json").write_text('{"ongoing')
    with pytest.raises(ValueError, match="is damaged"):
        make(tmp_path)


def test_a_lost_workers_trial_goes_to_another_one_and_counts_once(tmp_path):
    oracle = make(tmp_path, trials=2, patience=0.1)
    lost, other = oracle.create_trial("lost"), oracle.create_trial("other")
    finish(oracle, other)
    # The budget is spent, but the last trial may have to be taken over.
    assert oracle.create_trial("other").status == "IDLE"
    time.sleep(0.05)
    oracle.get_trial(lost.trial_id)  # A sign of life.
    time.sleep(0.08)
    assert oracle.create_trial("other").status == "IDLE"
    time.sleep(0.15)
    taken = oracle.create_trial("other")
    assert taken.trial_id == lost.trial_id
    assert values(taken) == values(lost)
    assert oracle.tuner_ids == {"other"}
    finish(oracle, taken)
    score = taken.score
    # It was only slow, and comes back with something else.
    finish(oracle, lost, "FAILED")
    assert oracle.end_order.count(lost.trial_id) == 1
    assert oracle.trials[lost.trial_id].score == score
    assert oracle.create_trial("other").status == "STOPPED"
    assert not oracle.tuner_ids
    assert not oracle.ongoing_trials


def test_failures_are_borne_until_nothing_else_happens(tmp_path):
    oracle = make(tmp_path, trials=100, max_failures=3)
    for status in ("FAILED", "FAILED", "COMPLETED", "FAILED", "FAILED", "FAILED"):
        trial = oracle.create_trial("a")
        assert trial.status == "RUNNING"
        finish(oracle, trial, status)
        # More than five combinations are tried when all of them are new again.
        oracle._tried_so_far.clear()
    assert oracle.has_only_failures
    assert oracle.create_trial("a").status == "STOPPED"


def test_the_reason_of_a_failure_comes_from_the_workers_folder(tmp_path):
    oracle = make(tmp_path)
    trial = oracle.create_trial("a")
    folder = tmp_path / "search" / f"trial_{trial.trial_id}"
    (folder / oracles.REASON_NAME).write_text("It collapsed.")
    travelled = keras_tuner.engine.trial.Trial.from_proto(trial.to_proto())
    travelled.status = "FAILED"
    oracle.end_trial(travelled)
    stored = json.loads((folder / "trial.json").read_text())
    assert stored["message"] == "It collapsed."
    assert stored["status"] == "FAILED"


def test_no_trial_begins_after_the_time_is_over(tmp_path):
    oracle = make(tmp_path)
    oracle.deadline = time.monotonic() + 60
    assert oracle.create_trial("a").status == "RUNNING"
    oracle.deadline = time.monotonic() - 1
    assert oracle.create_trial("b").status == "STOPPED"
    assert oracle.create_trial("a").status == "RUNNING"  # Its own, which it goes on.


def test_hyperband_never_cuts_a_trial_while_it_prunes(tmp_path):
    oracle = make(tmp_path, "hyperband", trials=30, min_epochs=3, max_epochs=12)
    lengths = []
    hp = oracle.get_space()
    hp.Int("z", 0, 1000)  # It tries more than five combinations at first.
    oracle.update_space(hp)
    for trial in run(oracle):
        hp = trial.hyperparameters.values
        lengths.append((hp["tuner/initial_epoch"], hp["tuner/epochs"]))
        # What goes on from another trial has that one's values, and is past pruning.
        if hp["tuner/initial_epoch"]:
            parent = oracle.trials[hp["tuner/trial_id"]].hyperparameters.values
            assert parent["x"] == hp["x"]
            assert parent["tuner/epochs"] == hp["tuner/initial_epoch"] >= 3
    assert set(lengths) == {(0, 3), (3, 6), (6, 12), (0, 6), (0, 12)}
    with pytest.raises(ValueError, match="`epochs` must be at least 2 x 7"):
        make(tmp_path / "short", "hyperband", min_epochs=7, max_epochs=13)


def test_bayesian_search_begins_at_random_with_a_third(tmp_path):
    assert make(tmp_path, "bayesian", trials=21).num_initial_points == 7


def test_the_pareto_objective_weighs_anew_and_leaves_scores_alone(tmp_path):
    oracle = make(tmp_path, "bayesian", objective=ParetoFront(), num_initial_points=2)
    scores = [trial.score for trial in run(oracle)]
    assert [oracle.trials[i].score for i in sorted(oracle.trials)] == scores
    assert len(scores) == 5 or len(scores) == 6


def test_an_unknown_algorithm_lists_the_known_ones():
    with pytest.raises(ValueError, match="`algorithm` must be one of 'bayesian'"):
        oracles.get("luck")
