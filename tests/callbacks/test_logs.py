"""What other callbacks read of the sparsity does not depend on where they stand."""

import csv

import keras
import numpy as np
import pytest

from keras_initprune import DissipatingGradients, KStarts, get_masks, prune

NAMES = ["sparsity", *(f"sparsity/{name}" for name in ("hidden_1", "hidden_2"))]


class Seen(keras.callbacks.Callback):
    """Notes what an epoch's logs and masks are when it is called."""

    def __init__(self):
        super().__init__()
        self.logs = []
        self.kept = []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))
        masks = get_masks(self.model).values()
        self.kept.append(sum(int(mask.sum()) for mask in masks))


def sparsities(logs):
    return [{k: v for k, v in epoch.items() if "sparsity" in k} for epoch in logs]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_place_in_the_list_does_not_matter(place, make_model, regression_data):
    model, seen = make_model(), Seen()
    callbacks = [KStarts(2, 0.5, epochs=1), DissipatingGradients(0.8, epochs=1)]
    callbacks.insert(place, seen)
    model.fit(*regression_data, epochs=3, callbacks=callbacks, verbose=0)
    masks = get_masks(model)
    size = sum(mask.size for mask in masks.values())
    assert seen.kept == [size // 2, round(0.2 * size), round(0.2 * size)]
    for logs, kept in zip(sparsities(seen.logs), seen.kept, strict=True):
        assert logs["sparsity"] == pytest.approx(1 - kept / size)
    assert sparsities(seen.logs)[-1] == {
        "sparsity": pytest.approx(0.8, abs=0.01),
        **{
            f"sparsity/{path.partition('/')[0]}": pytest.approx(1 - mask.mean())
            for path, mask in masks.items()
        },
    }


def test_a_later_fit_logs_it_too(make_model, regression_data):
    model, seen = prune(make_model(), "magnitude", 0.75), Seen()
    history = model.fit(*regression_data, epochs=2, callbacks=[seen], verbose=0)
    assert history.history["sparsity"] == [pytest.approx(0.75, abs=0.01)] * 2
    assert set(NAMES) < set(seen.logs[0])


def test_weights_of_one_layer_are_counted_together():
    model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(4, name="lstm")])
    model.compile("sgd", "mse", jit_compile=False)
    prune(model, "random", 0.5)
    history = model.fit(np.zeros((4, 5, 2)), np.zeros((4, 4)), verbose=0).history
    assert history["sparsity/lstm/lstm_cell"] == [pytest.approx(history["sparsity"][0])]


def test_a_model_without_masks_logs_nothing(make_model, regression_data):
    history = make_model().fit(*regression_data, verbose=0).history
    assert list(history) == ["loss"]


@pytest.mark.tf_only("Keras' `TensorBoard`")
def test_csv_and_tensorboard(make_model, regression_data, tmp_path):
    pytest.importorskip("tensorboard")
    board = keras.callbacks.TensorBoard(tmp_path / "board")
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    pruning = DissipatingGradients(0.8, epochs=1)
    model = make_model()
    callbacks = [board, table, pruning]
    model.fit(*regression_data, epochs=2, callbacks=callbacks, verbose=0)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sparsity"]) for row in rows] == [
        pytest.approx(0.8, abs=0.01)
    ] * 2
    events = b"".join(p.read_bytes() for p in tmp_path.rglob("events.*"))
    assert set(NAMES) < set(rows[0])
    assert all(b"epoch_" + name.encode() in events for name in NAMES)


def test_the_progress_line_has_no_number_for_every_layer(
    make_model, regression_data, capsys
):
    prune(model := make_model(), "magnitude", 0.5)
    model.fit(*regression_data, verbose=2)
    printed = capsys.readouterr().out
    assert "sparsity: 0.5" in printed
    assert "sparsity/" not in printed


def test_evaluation_and_prediction_are_as_before(make_model, regression_data):
    model = prune(make_model(), "magnitude", 0.5)
    assert isinstance(model.evaluate(*regression_data, verbose=0), float)
    assert model.predict(regression_data[0], verbose=0).shape == (64, 3)
