"""Which of Keras' backends the package is imported with."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

# Keras' NumPy backend needs it too, so without it no other backend can be imported.
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")


def run(code, **environment):
    """Run Python code in a process of its own, in another environment."""
    inherited = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(process, backend):
    last = process.stderr.strip().splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith("ImportError: keras_initprune runs on Keras' TensorFlow")
    assert "KERAS_BACKEND=tensorflow" in last
    assert repr(backend) in last


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy", "openvino"])
def test_another_backend_is_refused_whether_it_is_installed_or_not(backend):
    process = run("import keras_initprune", KERAS_BACKEND=backend)
    assert_refused(process, backend)
    assert "keras/src" not in process.stderr


@needs_jax
def test_another_backend_is_refused_if_keras_is_imported_already():
    assert_refused(run("import keras, keras_initprune", KERAS_BACKEND="numpy"), "numpy")


@needs_jax
def test_another_backend_is_refused_if_a_file_names_it(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "numpy"}))
    process = run("import keras_initprune, keras", KERAS_HOME=str(tmp_path))
    assert_refused(process, "numpy")


def test_tensorflow_is_taken_by_name_and_by_default():
    for environment in ({"KERAS_BACKEND": "tensorflow"}, {"KERAS_BACKEND": ""}):
        process = run(
            "import keras_initprune; print(keras_initprune.prune)", **environment
        )
        assert process.returncode == 0, process.stderr


def test_what_runs_exported_models_needs_no_keras():
    code = """
import sys
sys.modules["keras"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "keras" else find(name)
import keras_initprune.deploy.numpy_runtime
"""
    process = run(code, KERAS_BACKEND="jax")
    assert process.returncode == 0, process.stderr
