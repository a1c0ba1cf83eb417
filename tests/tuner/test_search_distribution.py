"""Trials under MirroredStrategy are what they are on one device."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, tempfile
import keras, numpy as np
from keras_initprune import get_masks
from keras_initprune import gradients
from keras_initprune.tuner import *
from keras_initprune.tuner import strategies as distribution

# Logical devices can only be made before TensorFlow starts, hence a process of its own.
two = distribution.get("mirrored", devices=2)
assert two.num_replicas_in_sync == 2
gathered = {}
totals = gradients.GradientRecorder.totals

def totals_of(recorder):
    # What every replica holds, before selection reads the first one's.
    gathered[name] = {
        path: [np.array(value) for value in getattr(total.value, "values", [total])]
        for path, total in recorder._totals.items()
    }
    return totals(recorder)

gradients.GradientRecorder.totals = totals_of

def build(hp):
    hidden = keras.layers.Dense(16, "relu", name="hidden")
    model = keras.Sequential(
        [keras.Input((12,)), hidden, keras.layers.Dense(3, name="output")]
    )
    steps = hp.Fixed("accumulation", accumulation) or None
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=steps)
    model.compile(
        optimizer, "mse", jit_compile=False, steps_per_execution=per_execution
    )
    return model

space = PruningSpace(
    methods=["combination"], sparsities=[0.8], k=[4], restarts=[0.5],
    combination_epochs=[2], distributions=["erk"],
)
x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
fit = {"x": x, "y": x[:, :3], "validation_data": (x, x[:, :3]), "epochs": 3,
       "batch_size": 16, "shuffle": False, "verbose": 0}
accumulation, per_execution = 0, 1
results = {}
for name, strategy in [("one", "one_device"), ("two", two)]:
    tuner = PruningTuner(
        PruningHyperModel(build, space), AccuracyAtSparsity(0.8, "val_loss"), "random",
        max_trials=1, strategy=strategy, directory=tempfile.mkdtemp(),
    )
    tuner.search(**fit)
    results[name] = SearchResults(tuner)
one, many = (result.best() for result in results.values())
np.testing.assert_allclose(
    one["metrics"]["val_loss"], many["metrics"]["val_loss"], rtol=1e-4
)
models = [result.best_model() for result in results.values()]
for first, second in zip(*[get_masks(model).values() for model in models]):
    assert (first == second).all()
for variable in models[1].variables:
    copies = [np.array(value) for value in variable.value.values]
    assert len(copies) == 2
    np.testing.assert_array_equal(*copies)
for path, (single,) in gathered["one"].items():
    first, second = gathered["two"][path]
    np.testing.assert_array_equal(first, second)
    # Summed over replicas: half or the mean would be off by a factor.
    np.testing.assert_allclose(first, single, rtol=1e-3)
assert gathered["one"].keys() == {"hidden/kernel", "output/kernel"}

for accumulation, per_execution, message in [
    (2, 1, "`gradient_accumulation_steps` must be None"),
    (0, 4, "`steps_per_execution` must be 1"),
]:
    tuner = PruningTuner(
        PruningHyperModel(build, space), AccuracyAtSparsity(0.8, "val_loss"), "random",
        max_trials=1, strategy=two, directory=tempfile.mkdtemp(),
    )
    try:
        tuner.search(**fit)
    except ValueError as error:
        assert message in str(error), error
    else:
        sys.exit("not refused: " + message)
"""


def test_masks_and_fitness_are_those_of_one_device_on_every_replica():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
