"""Masks and fitness are the same on one device and on two replicas."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.tf_only("`tf.distribute`")]

SCRIPT = """
import keras, numpy as np, tensorflow as tf
from keras_initprune import Combination, DissipatingGradients, KStarts, get_masks

# Logical devices can only be made before TensorFlow starts, hence a process of its own.
processor = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(processor, halves)
keras.mixed_precision.set_dtype_policy({policy!r})
x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")

def train(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((12,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(3, dtype="float32"),
            ]
        )
        model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1), "mse")
    model.fit(
        x, x[:, :3], batch_size=16, epochs=3, verbose=0, shuffle=False,
        callbacks=[
            {pruning}
        ],
    )
    return model

one = train(tf.distribute.OneDeviceStrategy("CPU:0"))
two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
for first, second in zip(get_masks(one).values(), get_masks(two).values()):
    assert (first == second).all()
for first, second in zip(one.trainable_weights, two.trainable_weights):
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-3)
for weight in two.trainable_weights:
    replicas = [value.numpy() for value in weight.value.values]
    np.testing.assert_array_equal(*replicas)
    assert (replicas[0] == 0).any() or weight.name == "bias"
"""


HAND_OVER = """
            KStarts(4, 0.5, 1, "gradient", seed=0),
            DissipatingGradients(0.8, epochs=2, criterion="gradient"),
"""
RESTARTS = "Combination(0.8, epochs=2, interval=2, start_sparsity=0.3, seed=0)"


@pytest.mark.parametrize(
    ("policy", "pruning"),
    [
        ("float32", HAND_OVER),
        ("mixed_float16", HAND_OVER),
        ("float32", RESTARTS),
    ],
)
def test_two_replicas_prune_as_one_device_does(policy, pruning):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(policy=policy, pruning=pruning)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


REFUSED = """
import keras, numpy as np, tensorflow as tf
from keras_initprune import RandomPruning

processor = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(processor, halves)
x = np.zeros((8, 4), "float32")

def refusal(strategy, **arguments):
    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.Adam(**arguments), "mse")
    try:
        model.fit(x, x[:, :2], verbose=0, callbacks=[RandomPruning(0.5)])
    except ValueError as error:
        return str(error)

message = refusal(tf.distribute.MultiWorkerMirroredStrategy())
assert "workers of one KerasTuner search" in message, message
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
message = refusal(two, gradient_accumulation_steps=2)
assert "cannot accumulate gradients on several replicas" in message, message
"""


def test_what_keras_cannot_do_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", REFUSED],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
