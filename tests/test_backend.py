"""Which of Keras' backends the package is imported with."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.slow

BACKENDS = ("tensorflow", "jax", "torch")
# Keras' NumPy backend needs it too.
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
WITHOUT = """
import importlib.util, sys
find = importlib.util.find_spec
missing = {missing!r}
importlib.util.find_spec = lambda name: None if name in missing else find(name)
"""


def run(code, missing=(), **environment):
    """Run Python code in a process of its own, in another environment.

    Args:
        code: The code.
        missing: Packages that are not to be found.
        **environment: Variables of the environment.
    """
    inherited = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing) + code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(process, backend):
    last = process.stderr.strip().splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith("ImportError: keras_initprune runs on Keras' backends")
    assert "tensorflow, jax, torch" in last
    assert repr(backend) in last


@pytest.mark.parametrize("backend", ["numpy", "openvino"])
def test_another_backend_is_refused_whether_it_is_installed_or_not(backend):
    process = run("import keras_initprune", KERAS_BACKEND=backend)
    assert_refused(process, backend)
    assert "keras/src" not in process.stderr


@needs_jax
def test_another_backend_is_refused_if_keras_is_imported_already():
    assert_refused(run("import keras, keras_initprune", KERAS_BACKEND="numpy"), "numpy")


def test_another_backend_is_refused_if_a_file_names_it(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "numpy"}))
    process = run("import keras_initprune", KERAS_HOME=str(tmp_path))
    assert_refused(process, "numpy")


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_any_backend_the_import_says_what_to_install(backend):
    process = run("import keras_initprune", BACKENDS, KERAS_BACKEND=backend)
    assert process.stderr.strip().splitlines()[-1] == (
        f"ImportError: Keras' backend {backend!r} is not installed: "
        f"pip install 'keras_initprune[{backend}]'."
    )


def test_a_backend_that_is_installed_is_named():
    there = next(name for name in BACKENDS if find_spec(name))
    missing = [name for name in BACKENDS if name != there]
    process = run("import keras_initprune", missing, KERAS_BACKEND=missing[0])
    last = process.stderr.strip().splitlines()[-1]
    assert last.endswith(f", or set KERAS_BACKEND={there}, which is.")


@pytest.mark.tf_only
def test_tensorflow_is_taken_by_name_and_by_default():
    for environment in ({"KERAS_BACKEND": "tensorflow"}, {"KERAS_BACKEND": ""}):
        process = run(
            "import keras_initprune; print(keras_initprune.prune)", **environment
        )
        assert process.returncode == 0, process.stderr


@pytest.mark.backends("No other backend is imported")
def test_no_other_backend_is_imported():
    code = """
import keras, sys
from keras_initprune import *
prune(keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)]), "synflow", 0.5)
print([name for name in ("tensorflow", "jax", "torch") if name in sys.modules])
"""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    process = run(code, KERAS_BACKEND=backend)
    # TensorFlow's own packages may look for others.
    assert process.stdout.splitlines()[-1] == str([backend]), process.stderr


def test_what_runs_exported_models_needs_no_keras():
    code = """
sys.modules["keras"] = None
import keras_initprune.deploy.numpy_runtime
"""
    process = run(code, ("keras",), KERAS_BACKEND="jax")
    assert process.returncode == 0, process.stderr
