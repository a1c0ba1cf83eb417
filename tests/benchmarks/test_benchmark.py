"""Figures of the benchmark say what was compared and whether it is enough."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
import typer
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import removing, running, showing
from benchmarks.__main__ import benchmark
from benchmarks.networks import random_images, wide_perceptron
from benchmarks.sizes import Sizes
from benchmarks.sparse_execution import bare_operations
from keras_initprune.deploy.sparse.conversion import to_sparse
from keras_initprune.lab.measurement import Measurement, Part, paired


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
        list(running.run(["masks", "speed"]))


def test_every_measure_has_a_title():
    assert showing.TITLES.keys() == running.MEASURES.keys()


@pytest.mark.slow
def test_sparse_layers_are_measured():
    sizes = Sizes(pairs=1, widths=(512,), sparsities=(0.9,), batches=1)
    figures = [made for _, made in running.run(["sparse"], sizes)]
    assert [made.name.split(",")[0] for made in figures] == [
        "dense prediction",
        "dense prediction",
        "dense tf.function",
        "dense training step",
        "dense weights and optimizer",
    ]
    # 12 bytes of all weights and moments, against 12 and 16 of positions of a tenth.
    assert 12 / 2.8 * 0.8 < figures[-1].ratio < 12 / 2.8 * 1.2


@pytest.mark.slow
def test_tracing_anew_is_a_figure_of_its_own():
    with_changes, traced = itertools.islice(removing.measure(Sizes(2, steps=10)), 2)
    assert "ten changes" in with_changes.name
    assert "tracing included" in traced.name
    # Both against the same epochs of the same fits.
    assert with_changes.details["seconds"][1] == traced.details["seconds"][1]
    assert (with_changes.goal, traced.goal) == ("at most 1.15", "")


def test_bare_operations_compute_the_model():
    model = to_sparse(wide_perceptron(512, 0.9))
    images = random_images(2)[0]
    outputs = bare_operations(model)([tf.constant(part) for part in (images, images)])
    for output in outputs:
        np.testing.assert_allclose(output, model(images), atol=1e-5)


def test_parts_are_put_together(tmp_path, monkeypatch):
    figures = {
        "masks": [Measurement("a step", "a dense one", 1.1, 1.0, 1.3, at_most=1.03)],
        "sparse": [Measurement("dense", "sparse", 3.0, 2.0, 4.0, details={"n": 1})] * 2,
    }
    for name, made in figures.items():
        monkeypatch.setitem(running.MEASURES, name, lambda sizes, made=made: iter(made))
    out = tmp_path / "figures.json"
    # In any order, and again.
    for name in ("sparse", "masks", "sparse"):
        running.run_and_show(Console(quiet=True), False, out, [name], pairs=5)
    written = json.loads(out.read_text())
    assert list(written) == ["masks", "sparse"]
    assert Part.from_dict(written["sparse"]).figures == figures["sparse"]
    page = out.with_suffix(".md").read_text()
    assert "python -m benchmarks --measures masks --pairs 5" in page
    assert "1.10 |" in page
    assert "at most 1.03 (missed)" in page
    assert out.with_suffix(".png").stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 3


def test_other_files_are_not_replaced(tmp_path):
    out = tmp_path / "mine.json"
    for content in ("no JSON", "[1, 2]", '{"mine": {"a": 1}}'):
        out.write_text(content)
        with pytest.raises(ValueError, match="Received: out="):
            running.run_and_show(Console(quiet=True), True, out, ["masks"])
        assert out.read_text() == content


def test_no_page_or_picture_of_another_making_is_replaced(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("mine")
    for out in (page, page.with_suffix(".json")):
        with pytest.raises((ValueError, FileExistsError), match="README"):
            running.run_and_show(Console(quiet=True), True, out, ["masks"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("option", "value"), [("--pairs", "0"), ("--pairs", "nan"), ("--threads", "-1")]
)
def test_numbers_that_cannot_be_meant_are_refused(option, value):
    app = typer.Typer()
    app.command()(benchmark)
    refused = CliRunner().invoke(app, [option, value])
    assert refused.exit_code == 2
    assert option in refused.stderr
