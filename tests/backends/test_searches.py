"""A search with KerasTuner on every backend."""

import keras
import numpy as np
import pytest
from reference import data

pytest.importorskip("keras_tuner")

from keras_initprune import find_leaks, sparsity
from keras_initprune.tuner import (
    AccuracyAtSparsity,
    PruningHyperModel,
    PruningSpace,
    PruningTuner,
)


def build(hp):
    hidden = keras.layers.Dense(hp.Choice("units", [16, 24]), name="hidden")
    output = keras.layers.Dense(2, name="output")
    model = keras.Sequential([keras.Input((12,)), hidden, output])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
    return model


@pytest.mark.backends("Searches with KerasTuner")
def test_a_search_ends_in_a_sparse_network(tmp_path):
    x = data()[0]
    y = (x[:, 0] > 0).astype(np.int32)
    space = PruningSpace(
        k=[4],
        k_starts_epochs=[1],
        dissipating_epochs=[1],
        distributions=["erk"],
        selections=["recombine"],
        fitness=["magnitude"],
        sparsities=[0.8],
        methods=["dissipating_gradients"],
    )
    tuner = PruningTuner(
        PruningHyperModel(build, space),
        AccuracyAtSparsity(0.5),
        max_trials=2,
        directory=tmp_path,
        algorithm="grid",
    )
    tuner.search(x, y, validation_data=(x, y), epochs=3, batch_size=32, verbose=0)
    model = tuner.get_best_models(1)[0]
    assert sparsity(model) == pytest.approx(0.8, abs=0.005)
    model.compile("adam", "mse", jit_compile=False)
    assert find_leaks(model) == {}
