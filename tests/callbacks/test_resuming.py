"""A killed process goes on where it stopped, and ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from matrix import cells
from settings import every_kind

from keras_initprune import DissipatingGradients, KStarts, RandomPruning, get_masks

EPOCHS = 4


class Stop(keras.callbacks.Callback):
    """Stands in for a killed process: leaves `fit` at a given moment."""

    def __init__(self, epoch, moment):
        super().__init__()
        self.at = (epoch, moment)

    def on_epoch_begin(self, epoch, logs=None):
        self.stop((epoch, "begin"))

    def on_train_batch_end(self, batch, logs=None):
        self.stop((self.epoch, batch))

    def on_epoch_end(self, epoch, logs=None):
        self.stop((epoch, "end"))

    def stop(self, now):
        self.epoch = now[0]
        if now == self.at:
            raise InterruptedError


def train(make_model, data, callbacks, **arguments):
    model = make_model(keras.optimizers.AdamW(0.01, weight_decay=0.1), run_eagerly=True)
    model.fit(
        *data,
        batch_size=16,
        epochs=EPOCHS,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
        **arguments,
    )
    return model


def assert_same_model(first, second):
    masks = get_masks(first), get_masks(second)
    for path in masks[0]:
        np.testing.assert_array_equal(masks[0][path], masks[1][path], err_msg=path)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def in_order(order, backup, pruning, stop):
    """Return the callbacks with the backup before or after those that prune."""
    if order == "backup_first":
        return [backup, *pruning, *stop]
    return [*pruning, *stop, backup]


ORDERS = cells(["backup_first", "backup_last"], by_default=["backup_first"])


@pytest.mark.parametrize("order", ORDERS)
@every_kind
def test_every_callback_goes_on(setting, order, make_model, regression_data, tmp_path):
    expected = train(make_model, regression_data, setting.make(0))
    for moment in [(1, 2), (1, "end"), (3, "begin")]:
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        callbacks = in_order(order, backup, setting.make(0), [Stop(*moment)])
        with pytest.raises(InterruptedError):
            train(make_model, regression_data, callbacks)
    callbacks = in_order(
        order, keras.callbacks.BackupAndRestore(tmp_path), setting.make(0), []
    )
    resumed = train(make_model, regression_data, callbacks)
    assert_same_model(resumed, expected)
    assert not tmp_path.exists()


SCRIPT = """
import json, os, signal, sys
import keras, numpy as np, tensorflow as tf
from keras_initprune import DissipatingGradients, KStarts, get_masks

folder, order, moment = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
tf.config.experimental.enable_op_determinism()
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 12)).astype("float32")
y = rng.normal(size=(64, 3)).astype("float32")
model = keras.Sequential(
    [
        keras.Input((12,)),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dropout(0.2, seed=3),
        keras.layers.Dense(3),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.kill([epoch, "begin"])
    def on_train_batch_end(self, batch, logs=None):
        self.kill([self.epoch, batch])
    def on_epoch_end(self, epoch, logs=None):
        self.kill([epoch, "end"])
    def kill(self, now):
        if now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

pruning = [
    KStarts(4, 0.5, epochs=2, fitness="combined", seed=0),
    DissipatingGradients(0.8, epochs=2, criterion="gradient"),
]
backup = keras.callbacks.BackupAndRestore(folder + "/backup")
callbacks = {
    "none": [*pruning],
    "backup_first": [backup, *pruning, Kill()],
    "backup_last": [*pruning, Kill(), backup],
}[order]
model.fit(x, y, batch_size=16, epochs=5, verbose=0, shuffle=False, callbacks=callbacks)
model.save(folder + f"/{order}.keras")
"""

# During fitness, between selection and the next epoch, in the middle of dissipating.
KILLS = [(0, 2), (1, "end"), (2, "begin"), (3, "end"), (4, 1)]


def run_script(folder, order, moment=None):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), order, json.dumps(moment)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    expected = 0 if moment is None else -signal.SIGKILL
    assert done.returncode == expected, done.stderr[-3000:]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.slow
def test_killed_processes_end_like_one_that_was_not(order, tmp_path):
    run_script(tmp_path, "none")
    for moment in KILLS:
        run_script(tmp_path, order, moment)
    run_script(tmp_path, order)
    models = [
        keras.models.load_model(tmp_path / f"{name}.keras") for name in ("none", order)
    ]
    assert_same_model(*models)


def backed_up(make_model, data, folder, callbacks):
    """Leave a backup behind, after one epoch."""
    backup = keras.callbacks.BackupAndRestore(folder)
    with pytest.raises(InterruptedError):
        train(make_model, data, [backup, *callbacks, Stop(1, "begin")])
    return keras.callbacks.BackupAndRestore(folder)


def test_a_process_killed_between_the_two_files_of_a_backup(
    make_model, regression_data, tmp_path
):
    """Keras writes the weights first and then the number of the next epoch."""

    def callbacks():
        return [KStarts(4, 0.8, epochs=2, seed=0)]

    expected = train(make_model, regression_data, callbacks())
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(InterruptedError):
        train(make_model, regression_data, [backup, *callbacks(), Stop(2, "begin")])
    metadata = tmp_path / "training_metadata.json"
    assert json.loads(metadata.read_text())["epoch"] == 2
    metadata.write_text(json.dumps({"epoch": 1, "batch": 0}))
    resumed = train(
        make_model,
        regression_data,
        [keras.callbacks.BackupAndRestore(tmp_path), *callbacks()],
    )
    assert_same_model(resumed, expected)


@pytest.mark.slow
def test_a_backup_of_other_callbacks_is_refused(make_model, regression_data, tmp_path):
    backup = backed_up(
        make_model, regression_data, tmp_path, [KStarts(4, 0.8, epochs=2, seed=0)]
    )
    for other in (
        [KStarts(8, 0.8, epochs=2, seed=0)],
        [DissipatingGradients(0.8, epochs=2)],
        [KStarts(4, 0.8, epochs=2, seed=0), DissipatingGradients(0.9, epochs=1)],
    ):
        with pytest.raises(ValueError, match="state of other pruning callbacks"):
            train(make_model, regression_data, [backup, *other])


def test_a_backup_without_a_schedule_is_refused(make_model, regression_data, tmp_path):
    backup = backed_up(make_model, regression_data, tmp_path, [])
    with pytest.raises(ValueError, match=r"file without the state|comes from a model"):
        train(make_model, regression_data, [backup, RandomPruning(0.5, seed=0)])


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_a_torn_backup_is_an_error(fraction, make_model, regression_data, tmp_path):
    callbacks = [KStarts(4, 0.8, epochs=2, seed=0)]
    backup = backed_up(make_model, regression_data, tmp_path, callbacks)
    weights = tmp_path / "latest.weights.h5"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(OSError, match=r".+"):
        train(make_model, regression_data, [backup, *callbacks])


def test_a_changed_state_is_an_error(make_model, regression_data, tmp_path):
    import h5py

    callbacks = [DissipatingGradients(0.8, epochs=2)]
    backup = backed_up(make_model, regression_data, tmp_path, callbacks)
    with h5py.File(tmp_path / "latest.weights.h5", "r+") as file:
        saved = file["_initprune_schedule/vars"]
        largest = max((n for n in saved if n != "header"), key=lambda n: saved[n].size)
        saved[largest][0] = 7.0
    with pytest.raises(ValueError, match=r"is damaged: .*checksum is wrong"):
        train(make_model, regression_data, [backup, *callbacks])


def test_a_model_saved_within_a_phase_is_a_plain_model(
    make_model, regression_data, tmp_path
):
    path = Path(tmp_path, "model.keras")
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    with pytest.raises(InterruptedError):
        train(
            make_model,
            regression_data,
            [KStarts(4, 0.8, epochs=2, seed=0), checkpoint, Stop(1, "begin")],
        )
    loaded = keras.models.load_model(path)
    assert not any("initprune_schedule" in name for name in vars(loaded))
    assert get_masks(loaded).keys() == {
        "hidden_1/kernel",
        "hidden_2/kernel",
        "output/kernel",
    }
