"""Fixtures and settings that all tests share."""

import gc
import os

# TensorFlow reads these when it is imported, which conftest comes before.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
if os.environ.get("KERAS_BACKEND") == "jax":
    # JAX divides the CPU into two devices.
    os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import keras
import numpy as np
import pytest
from backends.feature_table import MARKS

BACKEND = keras.config.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf

    # GPUs multiply with ten bits else, and tests compare closer than that.
    tf.config.experimental.enable_tensor_float_32_execution(False)
elif BACKEND == "torch":
    import torch

    # Threads cost more than they save on tensors as small as those of tests.
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is another backend's."""
    skip = pytest.mark.skip(reason=f"not on {BACKEND}")
    for item in items:
        for mark, backends in MARKS.items():
            if BACKEND not in backends and item.get_closest_marker(mark):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what imports made, which stays."""
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed every test alike."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def regression_data(rng):
    """64 examples with 12 inputs and 3 targets."""
    x = rng.normal(size=(64, 12)).astype("float32")
    y = rng.normal(size=(64, 3)).astype("float32")
    return x, y


@pytest.fixture
def make_model():
    """Return a function that builds and compiles a perceptron 12-16-8-3."""

    def make(optimizer="adam", compiled=True, jit_compile=False, **compile_arguments):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.Input((12,)),
                keras.layers.Dense(16, activation="relu", name="hidden_1"),
                keras.layers.Dense(8, activation="relu", name="hidden_2"),
                keras.layers.Dense(3, name="output"),
            ]
        )
        if compiled:
            # Compiling with XLA takes longer than all of a test's training.
            model.compile(
                optimizer, "mse", jit_compile=jit_compile, **compile_arguments
            )
        return model

    return make
