"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

from keras_initprune import sparsity

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def names(rng, tmp_path, monkeypatch):
    """What the examples take for granted."""
    monkeypatch.chdir(tmp_path)
    return {"x": rng.random((64, 784), np.float32), "y": rng.integers(0, 10, 64)}


def block(words):
    """Return the example that contains some words."""
    [found] = [text for text in BLOCKS if words in text]
    return found


def test_the_first_examples_run(names, rng, tmp_path, capsys):
    exec(block("print(report(model))"), names)
    assert "95.00%" in capsys.readouterr().out
    assert (tmp_path / "sparse.keras").exists()
    weight = names["report"](names["model"]).rows[0]
    mask = rng.random(weight.shape) < 0.02
    exec(block("set_masks"), {**names, "path": weight.path, "mine": mask})
    kernel = names["model"].get_weights()[0]
    assert not kernel[~mask].any()


def test_the_search_runs(names, capsys):
    exec(block("PruningTuner("), names)
    assert sparsity(names["model"]) >= 0.9495
    assert "'sparsity': 0.9" in capsys.readouterr().out
    assert names["callbacks"]


def test_the_commands_are_two():
    commands = re.findall(r"```bash\n(.*?)\n```", README.read_text(), re.DOTALL)
    assert len(commands) == 2
