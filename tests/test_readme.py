"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np

from keras_initprune import get_masks, install_masks, set_masks, sparsity

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def block(text):
    (found,) = [block for block in BLOCKS if text in block]
    return found


def test_the_examples_run(rng, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = block('model.save("sparse'), block("pruning.install_masks(")
    smaller, resumed = block("compact("), block("BackupAndRestore(")
    names = {
        "x": rng.random((64, 784), np.float32),
        "y": rng.integers(0, 10, 64),
    }
    exec(first, names)
    assert "95.00%" in capsys.readouterr().out
    assert (tmp_path / "sparse.keras").exists()
    exec(smaller, names)
    assert (tmp_path / "small.npz").exists()
    weight = names["report"](names["model"]).rows[0]
    mask = rng.random(weight.shape) < 0.02
    exec(second, {**names, "path": weight.path, "mine": mask})
    kernel = names["model"].get_weights()[0]
    assert not kernel[~mask].any()
    exec(first.split("model.fit")[0], names)  # A dense model, to begin with again.
    exec(resumed, names)
    assert names["model"].get_weights()[0].any()


def test_the_sanity_checks_run(make_model, regression_data):
    model = install_masks(make_model())
    before = {path: random_mask(mask) for path, mask in get_masks(model).items()}
    set_masks(model, before)
    exec(block("sanity_checks."), {"model": model, "y": regression_data[1]})
    for path, mask in get_masks(model).items():
        assert mask.sum() == before[path].sum()
        assert (mask != before[path]).any()


def random_mask(mask):
    return np.random.default_rng(0).random(mask.shape) < 0.4


def test_pruning_before_training_runs(rng):
    names = {"x": rng.random((64, 784), np.float32), "y": rng.integers(0, 10, 64)}
    example = block("import prune")
    exec(example.replace("epochs=12", "epochs=1"), names)
    assert abs(sparsity(names["model"]) - 0.95) < 1e-4


def test_the_commands_are_two():
    commands = re.findall(r"```bash\n(.*?)\n```", README.read_text(), re.DOTALL)
    assert len(commands) == 2
