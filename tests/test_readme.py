"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

from keras_initprune import get_masks, install_masks, set_masks, sparsity

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def block(words):
    """Return the example that contains some words."""
    [found] = [text for text in BLOCKS if words in text]
    return found


@pytest.fixture
def names(rng, tmp_path, monkeypatch):
    """What the examples take for granted."""
    monkeypatch.chdir(tmp_path)
    return {"x": rng.random((64, 784), np.float32), "y": rng.integers(0, 10, 64)}


def test_the_first_examples_run(names, rng, tmp_path, capsys):
    first = block('model.save("sparse.keras")')
    exec(first, names)
    assert "95.00%" in capsys.readouterr().out
    assert (tmp_path / "sparse.keras").exists()
    exec(block("compact("), names)
    assert (tmp_path / "small.npz").exists()
    exec(block("plots."), names)
    assert (tmp_path / "layers.png").exists()
    assert (tmp_path / "first_layer.png").exists()
    weight = names["report"](names["model"]).rows[0]
    mask = rng.random(weight.shape) < 0.02
    masks_by_hand = block("pruning.install_masks(")
    exec(masks_by_hand, {**names, "path": weight.path, "mine": mask})
    kernel = names["model"].get_weights()[0]
    assert not kernel[~mask].any()
    exec(first.split("model.fit")[0], names)  # A dense model, to begin with again.
    exec(block("BackupAndRestore("), names)
    assert sparsity(names["model"]) == pytest.approx(0.95, abs=1e-4)


def test_pruning_before_training_runs(names):
    exec(block("import prune\n").replace("epochs=12", "epochs=1"), names)
    assert sparsity(names["model"]) == pytest.approx(0.95, abs=1e-4)


def test_the_sanity_checks_run(make_model, regression_data, rng):
    model = install_masks(make_model())
    before = {path: rng.random(m.shape) < 0.4 for path, m in get_masks(model).items()}
    set_masks(model, before)
    exec(block("sanity_checks."), {"model": model, "y": regression_data[1]})
    for path, mask in get_masks(model).items():
        assert mask.sum() == before[path].sum()
        assert (mask != before[path]).any()


def test_the_search_runs(names, capsys):
    exec(block("PruningTuner("), names)
    assert sparsity(names["model"]) >= 0.9495
    assert "'sparsity': 0.9" in capsys.readouterr().out
    assert names["callbacks"]


def test_going_sparse_while_training_runs(names, tmp_path):
    exec(block('model.save("sparse.keras")').split("k_starts")[0], names)
    exec(block("fit_sparse("), {**names, "plain": names["model"]})
    assert (tmp_path / "small.keras").exists()


def test_the_commands_are_two():
    commands = re.findall(r"```bash\n(.*?)\n```", README.read_text(), re.DOTALL)
    assert len(commands) == 2
