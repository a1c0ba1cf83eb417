"""What is saved, loaded, copied or exported is as sparse as the model."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from matrix import cells
from test_constraints import MODELS, assert_same, data_for, prune_at_random, zeros

from keras_initprune import get_masks, restore_masks, set_masks

layers = keras.layers
SAMPLES = cells(
    ["functional", "separable", "lstm", "normalised", "attention"],
    by_default=["functional", "lstm"],
)


@pytest.fixture
def pruned(make_model, rng):
    model = make_model(compiled=False)
    prune_at_random(model, rng)
    return model


@pytest.mark.parametrize("kind", SAMPLES)
def test_plain_weights_in_a_pruned_model_are_pruned(kind, rng, tmp_path):
    keras.backend.clear_session(free_memory=False)
    plain = MODELS[kind]()
    plain.save_weights(tmp_path / "plain.weights.h5")
    keras.backend.clear_session(free_memory=False)
    pruned = MODELS[kind]()
    masks = prune_at_random(pruned, rng)
    pruned.load_weights(tmp_path / "plain.weights.h5")
    assert_same(get_masks(pruned), masks)
    assert_same(zeros(pruned), {path: ~mask for path, mask in masks.items()})


def test_a_model_out_of_a_file_masks_plain_weights(pruned, make_model, tmp_path):
    make_model(compiled=False).save_weights(tmp_path / "plain.weights.h5")
    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.models.load_model(tmp_path / "pruned.keras")
    loaded.load_weights(tmp_path / "plain.weights.h5")
    expected = {path: ~mask for path, mask in get_masks(pruned).items()}
    assert_same(zeros(loaded), expected)


@pytest.mark.parametrize("kind", SAMPLES)
def test_pruned_weights_in_a_plain_model(kind, rng, tmp_path):
    keras.backend.clear_session(free_memory=False)
    pruned = MODELS[kind]()
    masks = prune_at_random(pruned, rng)
    pruned.save_weights(tmp_path / "pruned.weights.h5")
    keras.backend.clear_session(free_memory=False)
    plain = MODELS[kind]()
    plain.load_weights(tmp_path / "pruned.weights.h5")
    assert_same(zeros(plain), {path: ~mask for path, mask in masks.items()})
    assert_same(get_masks(plain), masks)
    assert_same(get_masks(restore_masks(plain)), masks)


@pytest.mark.parametrize("kind", SAMPLES)
def test_pruned_weights_in_a_pruned_model_bring_their_masks(kind, rng, tmp_path):
    keras.backend.clear_session(free_memory=False)
    first = MODELS[kind]()
    masks = prune_at_random(first, rng)
    first.save_weights(tmp_path / "first.weights.h5")
    keras.backend.clear_session(free_memory=False)
    second = MODELS[kind]()
    prune_at_random(second, rng)
    second.load_weights(tmp_path / "first.weights.h5")
    assert_same(get_masks(second), masks)
    assert_same(zeros(second), {path: ~mask for path, mask in masks.items()})


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_train_on_by_themselves(copied, pruned, regression_data):
    other = copied(pruned)
    assert_same(get_masks(other), get_masks(pruned))
    other.compile(keras.optimizers.Adam(0.1, use_ema=True), "mse", run_eagerly=True)
    other.fit(*regression_data, verbose=0)
    expected = {path: ~mask for path, mask in get_masks(pruned).items()}
    assert_same(zeros(other), expected)
    set_masks(other, {p: np.ones_like(mask) for p, mask in get_masks(other).items()})
    assert_same(zeros(pruned), expected)


def test_an_optimizer_with_averages_leaks_nothing_in_a_loaded_model(
    make_model, rng, regression_data, tmp_path
):
    model = make_model(keras.optimizers.Adam(0.1, use_ema=True), run_eagerly=True)
    masks = prune_at_random(model, rng)
    model.fit(*regression_data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.fit(*regression_data, epochs=2, verbose=0)
    assert_same(zeros(loaded), {path: ~mask for path, mask in masks.items()})


def test_the_exported_graph_holds_no_mask(pruned, tmp_path, regression_data):
    pruned.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "exported")
    serve = loaded.signatures["serving_default"]
    graphs = [serve.graph, *(f.graph for f in serve.graph._functions.values())]
    operations = [o for graph in graphs for o in graph.get_operations()]
    assert not {o.type for o in operations} & {"Select", "SelectV2", "Cast"}
    captured = [value.dtype for value in serve.variables]
    assert captured == [tf.float32] * len(pruned.trainable_variables)
    x = regression_data[0]
    np.testing.assert_allclose(loaded.serve(x), pruned.predict(x, verbose=0), atol=1e-6)


def used_twice():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, activation="relu")
    return keras.Model(inputs, layers.Dense(2)(shared(shared(inputs))))


def nested_twice():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="relu")])
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inner(inner(inputs))))


def frozen_backbone():
    backbone = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(),
        ]
    )
    backbone.trainable = False
    return keras.Sequential([keras.Input((4,)), backbone, layers.Dense(2)])


@pytest.mark.parametrize("make", [used_twice, nested_twice, frozen_backbone])
def test_models_of_shared_and_frozen_parts(make, rng, tmp_path):
    model = make()
    masks = prune_at_random(model, rng)
    model.compile(keras.optimizers.Adam(0.1), "mse", run_eagerly=True)
    data = data_for(model, rng)
    model.fit(*data, verbose=0)
    expected = {path: ~mask for path, mask in masks.items()}
    assert_same(zeros(model), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(get_masks(loaded), masks)
    loaded.fit(*data, verbose=0)
    assert_same(zeros(loaded), expected)
