"""Figures of the benchmark say what was compared and whether it is enough."""

import json

import pytest

from keras_initprune.experiments import benchmark
from keras_initprune.experiments.benchmark import showing
from keras_initprune.experiments.benchmark.measurement import Measurement, paired


def test_a_ratio_is_the_median_of_pairs():
    made = paired("much", "little", (lambda: sum(range(10**5)), lambda: None), 3)
    assert made.low <= made.ratio <= made.high
    assert made.ratio > 1


def test_goals_are_met_or_missed():
    slow = Measurement("a", "b", 2.0, 1.0, 3.0, at_most=1.5)
    fast = Measurement("a", "b", 2.0, 1.0, 3.0, at_least=2.0)
    assert (slow.goal, slow.met) == ("at most 1.5", False)
    assert (fast.goal, fast.met) == ("at least 2", True)
    assert Measurement("a", "b", 2.0, 1.0, 3.0).met is None


def test_unknown_measures_are_named():
    with pytest.raises(ValueError, match="Received: 'speed'"):
        list(benchmark.run(["masks", "speed"]))


def test_sparse_layers_are_measured_and_shown(tmp_path):
    sizes = benchmark.Sizes(pairs=1, widths=(128,), sparsities=(0.9,), batches=1)
    figures = list(benchmark.run(["sparse"], sizes))
    assert [made.name.split(",")[0] for _, made in figures] == [
        "dense prediction",
        "dense training step",
        "weights and optimizer",
    ]
    # 12 bytes of weights and moments and 16 of positions, against 12, of every tenth.
    assert 0.2 < figures[2][1].ratio < 0.4
    json.dumps([made.as_dict() for _, made in figures])
    page = showing.markdown(figures, "a machine", "a command")
    assert "a machine" in page
    assert page.count("\n|") == 2 + len(figures)
    showing.save_figure(figures, "a machine", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_not_installed_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("INITPRUNE_TFMOT_PYTHON", "/bin/false")
    with pytest.raises(RuntimeError, match="extra `tfmot`"):
        list(benchmark.run(["tfmot"], benchmark.QUICK))
