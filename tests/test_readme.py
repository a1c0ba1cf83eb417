"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

from keras_initprune import sparsity

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def block(words):
    """Return the example that contains some words."""
    [found] = [text for text in BLOCKS if words in text]
    return found


@pytest.fixture
def names(rng, tmp_path, monkeypatch):
    """What the examples take for granted."""
    monkeypatch.chdir(tmp_path)
    return {"x": rng.random((64, 784), np.float32), "y": rng.integers(0, 10, 64)}


def test_the_first_examples_run(names, tmp_path, capsys):
    first = block('model.save("sparse.keras")')
    exec(first, names)
    assert "95.00%" in capsys.readouterr().out
    assert (tmp_path / "sparse.keras").exists()
    exec(block("compact("), names)
    assert (tmp_path / "small.npz").exists()
    exec(block("plots."), names)
    assert (tmp_path / "layers.png").exists()
    assert (tmp_path / "first_layer.png").exists()


def test_pruning_before_training_runs(names):
    exec(block("import prune\n").replace("epochs=12", "epochs=1"), names)
    assert sparsity(names["model"]) == pytest.approx(0.95, abs=1e-4)


def test_going_sparse_while_training_runs(names, tmp_path):
    exec(block('model.save("sparse.keras")').split("k_starts")[0], names)
    exec(block("fit_sparse("), {**names, "plain": names["model"]})
    assert (tmp_path / "small.keras").exists()


def test_the_commands_are_two():
    commands = re.findall(r"```bash\n(.*?)\n```", TEXT, re.DOTALL)
    assert len(commands) == 2


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", TEXT))
def test_links_lead_somewhere(link):
    name, _, anchor = link.partition("#")
    target = README.parent / name
    assert target.exists()
    if anchor:
        titles = re.findall("^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert anchor in [title.lower().replace(" ", "-") for title in titles]
