"""What the peers are asked, how it is kept, and how it is shown."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.peers import driving, page
from benchmarks.peers.__main__ import compare
from benchmarks.peers.comparison import Comparison
from benchmarks.peers.side import DENSE, NETWORKS, SHAPES, Record, Task, initial_kernels

TASK = Task("PQuantML", "pdp", "perceptron", 0.95, 4, 2, 10_000, 100, 0)
RECORD = Record(
    TASK,
    "pquant-ml 0.1.0",
    error=0.0412,
    sparsity=0.951,
    seconds=3.0,
    step_seconds=0.003,
    dense_step_seconds=0.002,
    memory=500_000_000,
    file_size=1_000_000,
    zipped_size=100_000,
    loaded_error=0.0412,
    loaded_sparsity=0.951,
    tuned_sparsity=None,
    loaded_tuned_sparsity=0.2,
    notes={"tuned_sparsity": "ValueError: no"},
)
DENSE_RECORD = replace(
    RECORD, task=replace(TASK, method=DENSE, sparsity=0.0), error=0.04, sparsity=0.0
)
OTHER = replace(
    RECORD, task=replace(TASK, peer="SparseLab", method="SET"), error=0.0312
)


def rows(text, method):
    """Return the cells of the lines of a page that are about a method."""
    lines = [line for line in text.splitlines() if f"| {method} " in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_records_survive_json():
    assert Record.from_dict(json.loads(json.dumps(asdict(RECORD)))) == RECORD


def test_a_page_shows_every_figure():
    text = page.markdown([DENSE_RECORD, RECORD], "how", [("jaxpruner", "not there")])
    assert "- jaxpruner: not there." in text
    assert "- pquant-ml 0.1.0" in text
    errors, zeros, costs = rows(text, "pdp")
    assert errors[2:] == ["95", "95.10", "**4.12**", "4.12"]
    assert zeros[3:] == ["[1]", "95.10", "20.00"]
    assert costs[3:] == ["3.00", "2.00", "1.50", "3.0", "500", "1000", "100"]
    assert "[1] ValueError: no" in text


def test_the_best_has_as_many_zeros_as_asked_for():
    denser = replace(OTHER, error=0.01, sparsity=0.9)
    text = page.markdown([RECORD, denser], "how", [])
    assert "**4.12**" in text
    assert "**1.00**" not in text
    assert "**3.12**" in page.markdown([RECORD, OTHER], "how", [])


def test_a_failed_training_says_why():
    failed = Record(TASK, "", notes={"training": "it stopped"})
    errors, _, _ = rows(page.markdown([failed], "how", []), "pdp")
    assert errors[3:] == ["[1]"] * 3


def test_a_long_reason_ends_at_a_word():
    failed = Record(TASK, "", notes={"training": "it said " + 100 * "nothing "})
    last = page.markdown([failed], "how", []).splitlines()[-1]
    assert last.endswith("nothing ...")
    assert len(last) < 200


def test_what_was_found_is_kept_and_not_trained_again(tmp_path):
    out = tmp_path / "peers.json"
    failed = Record(OTHER.task, "", notes={"training": "it stopped"})
    found = Comparison(["a machine"], {"tfmot": "no"}, [])
    for record in (failed, RECORD):
        found.add(record)
    found.write(out)
    again = Comparison.read(out)
    assert again == found
    assert again.has(TASK)
    assert not again.has(OTHER.task)
    for record in (OTHER, DENSE_RECORD):
        again.add(record)
    assert again.records == [DENSE_RECORD, RECORD, OTHER]
    written = out.with_suffix(".md").read_text()
    assert "a machine" in written
    assert "10,000 images" in written
    # Five dense perceptrons and four dense LeNets; 11 and 8 methods at three levels.
    assert "Of the 74 trainings of the command 73 are not on this page" in written


@pytest.mark.parametrize("content", ["no JSON", "[1, 2]", '{"records": [{"a": 1}]}'])
def test_other_files_are_not_replaced(tmp_path, content):
    out = tmp_path / "mine.json"
    out.write_text(content)
    with pytest.raises(ValueError, match="Received: out="):
        Comparison.read(out)


def test_no_page_of_another_making_is_replaced(tmp_path):
    (tmp_path / "mine.md").write_text("mine")
    with pytest.raises(FileExistsError):
        Comparison.read(tmp_path / "mine.json")


def test_every_peer_is_asked_the_same():
    settings = {"epochs": 4, "pruning_epochs": 2, "images": 6000, "batch_size": 100}
    for name, peer in driving.PEERS.items():
        made = list(driving.tasks(name, NETWORKS, [0.9, 0.95], seed=1, **settings))
        assert len(made) == len(peer.networks) * (1 + 2 * len(peer.methods))
        assert {(task.epochs, task.images, task.seed) for task in made} == {
            (4, 6000, 1)
        }
        assert [task.sparsity for task in made if task.method == DENSE] == [0] * len(
            peer.networks
        )
        assert (set(peer.networks) == set(NETWORKS)) == (peer.lacks == "")


def test_begins_with_glorots_limits():
    for network, shapes in SHAPES.items():
        kernels = initial_kernels(network, 0)
        assert [kernel.shape for kernel in kernels] == list(shapes)
    limit = np.sqrt(6 / (5 * 5 * (1 + 20)))
    assert 0.95 * limit < np.abs(kernels[0]).max() <= limit


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    peer = driving.Peer("nothing", ("./no/such/package",), ())
    monkeypatch.setitem(driving.PEERS, "nothing", peer)
    with pytest.raises(RuntimeError, match="no/such/package"):
        driving.interpreter("nothing", tmp_path)


@pytest.mark.slow
def test_a_process_that_fails_is_a_record(tmp_path):
    python = driving.interpreter("keras_initprune", tmp_path)
    record = driving.train(
        replace(TASK, peer="keras_initprune"), python, tmp_path / "none.npz", 600
    )
    assert record.error is None
    assert "none.npz" in record.notes["training"]


def test_unknown_peers_are_named(tmp_path):
    app = typer.Typer()
    app.command()(compare)
    options = ["--out", str(tmp_path / "a.json"), "--peers", "torch"]
    refused = CliRunner().invoke(app, options)
    assert refused.exit_code == 1
    assert "`peers` must be some of 'keras_initprune'" in refused.output
