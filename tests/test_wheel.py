"""The wheel is whole: it runs in a clean environment that has no checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keras_initprune

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def run(*command, folder):
    """Run a program outside of the checkout, and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_runs_without_the_checkout(tmp_path):
    # A copy, for building leaves files behind.
    source = tmp_path / "source"
    shutil.copytree(ROOT / "keras_initprune", source / "keras_initprune")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    run(*pip, "--wheel-dir", tmp_path, source, folder=tmp_path)
    shutil.rmtree(source)
    [wheel] = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", "clean", folder=tmp_path)
    clean = tmp_path / "clean" / "bin"
    run(clean / "pip", "install", "--quiet", f"{wheel}[lab]", folder=tmp_path)

    where = "import keras_initprune as k; print(k.__file__, k.__version__)"
    found = run(clean / "python", "-c", where, folder=tmp_path)
    assert str(tmp_path) in found
    assert keras_initprune.__version__ in found
    help_text = run(clean / "initprune", "--help", folder=tmp_path)
    assert "compare" in help_text
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    printed = run(clean / "python", "-c", example[1], folder=tmp_path)
    assert "95.00%" in printed
    assert list(tmp_path.glob("*.keras"))
