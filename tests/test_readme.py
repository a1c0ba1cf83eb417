"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import keras
import numpy as np

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_examples_run(rng, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, sparse, second = BLOCKS
    names = {
        "x": rng.random((64, 784), np.float32),
        "y": rng.integers(0, 10, 64),
    }
    exec(first, names)
    assert "95.00%" in capsys.readouterr().out
    assert (tmp_path / "sparse.keras").exists()
    weight = names["report"](names["model"]).rows[0]
    mask = rng.random(weight.shape) < 0.02
    exec(second, {**names, "path": weight.path, "mine": mask})
    kernel = names["model"].get_weights()[0]
    assert not kernel[~mask].any()
    plain = keras.models.clone_model(names["model"])
    plain.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    exec(sparse, {**names, "plain": plain})
    assert (tmp_path / "small.keras").exists()


def test_the_commands_are_two():
    commands = re.findall(r"```bash\n(.*?)\n```", README.read_text(), re.DOTALL)
    assert len(commands) == 2
