"""Sides find what their packages do, measured in this process."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers.measuring import measure
from benchmarks.peers.side import Task

TASK = Task("any", "any", "perceptron", 0.95, 2, 1, 3000, 100, 0)


def digits(images):
    """Return images of two classes that a few steps tell apart."""
    generator = np.random.default_rng(0)
    labels = np.arange(images) % 2
    x = generator.random((images, 28, 28, 1), np.float32)
    x[labels == 1, :14] = 0
    return {"x_train": x, "y_train": labels, "x_test": x[:200], "y_test": labels[:200]}


def check(module, method):
    """Measure a side in this process, and check what holds for all peers."""
    side = importlib.import_module(f"benchmarks.peers.sides.{module}").Peer(
        replace(TASK, method=method)
    )
    record = measure(side, digits(TASK.images))
    assert record.sparsity == pytest.approx(0.95, abs=1e-3)
    assert record.loaded_sparsity == record.sparsity
    assert record.loaded_error == record.error < 0.05
    assert record.memory > 1e8
    assert record.zipped_size < record.file_size / 2
    return record


@pytest.mark.slow
@pytest.mark.tf_only
def test_zeros_stay_here():
    record = check("ours", "GradualMagnitude")
    assert record.tuned_sparsity == record.sparsity
    assert record.loaded_tuned_sparsity == record.sparsity
    assert record.notes == {}


@pytest.mark.slow
def test_zeros_of_torch_come_back_once_they_were_saved():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    record = check("torch_prune", "in rounds")
    assert record.tuned_sparsity == record.sparsity
    assert record.loaded_tuned_sparsity < record.sparsity
