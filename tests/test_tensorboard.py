"""TensorBoard shows the weights of a masked model."""

import keras
import pytest

from keras_initprune import prune

pytest.importorskip("tensorboard")


@pytest.mark.parametrize("write_images", [False, True])
def test_histograms_and_images(write_images, make_model, regression_data, tmp_path):
    model = prune(make_model(run_eagerly=True), "magnitude", 0.5)
    board = keras.callbacks.TensorBoard(
        tmp_path, histogram_freq=1, write_images=write_images
    )
    model.fit(*regression_data, verbose=0, callbacks=[board])
    content = b"".join(p.read_bytes() for p in tmp_path.rglob("events.*"))
    assert b"hidden_1/kernel/histogram" in content
    assert (b"hidden_1/kernel/image" in content) == write_images
