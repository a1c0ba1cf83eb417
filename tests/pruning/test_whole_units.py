"""Whole units and filters, removed by any method, are taken out by `compact`."""

import keras
import numpy as np
import pytest
from matrix import cells

from keras_initprune import (
    SET,
    DissipatingGradients,
    GradualMagnitude,
    KStarts,
    OneShotMagnitude,
    RandomPruning,
    RigL,
    compact,
    get_masks,
    prune,
)

layers = keras.layers
DATA = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
TARGETS = np.arange(32) % 4


def residual_network():
    """16 filters that are added up, 8 in the block between."""
    inputs = keras.Input((8, 8, 3))
    stem = layers.Conv2D(16, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(stem))
    x = layers.Conv2D(8, 1, activation="relu", name="inner")(x)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="outer")(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([stem, x])))
    model = keras.Model(inputs, layers.Dense(4, name="output")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, run_eagerly=True)
    return model


def kept_units(model):
    """Return which units are kept, where every one is kept or removed as a whole."""
    units = {}
    for path, mask in get_masks(model).items():
        rows = mask.reshape(-1, mask.shape[-1])
        assert (rows.all(axis=0) == rows.any(axis=0)).all(), path
        units[path] = rows.any(axis=0)
    return units


def assert_half_of_the_units(model):
    units = kept_units(model)
    counts = {path: kept.sum() for path, kept in units.items()}
    assert counts == {"stem/kernel": 8, "inner/kernel": 4, "outer/kernel": 8}
    assert (units["stem/kernel"] == units["outer/kernel"]).all()


def assert_compact_takes_them_out(model):
    small = compact(model)
    expected = model.predict(DATA, verbose=0)
    np.testing.assert_allclose(small.predict(DATA, verbose=0), expected, atol=1e-5)
    # Where zeros are padded, a removed unit's constant may leave one in its place.
    assert 8 <= small.get_layer("stem").filters <= 9
    assert 4 <= small.get_layer("inner").filters <= 5
    assert small.get_layer("outer").filters == small.get_layer("stem").filters
    assert small.count_params() < 0.45 * model.count_params()


@pytest.mark.parametrize(
    "method", ["random", "magnitude", "snip", "force", "grasp", "synflow"]
)
def test_every_criterion_removes_units(method):
    model = residual_network()
    prune(
        model,
        method,
        0.5,
        (DATA, TARGETS),
        pattern="units",
        distribution="uniform",
        iterations=3 if method in ("force", "synflow") else None,
        seed=0,
    )
    assert_half_of_the_units(model)
    model.fit(DATA, TARGETS, verbose=0)
    assert_half_of_the_units(model)
    assert_compact_takes_them_out(model)


CALLBACKS = {
    "random": lambda: RandomPruning(0.5, distribution="uniform", pattern="units"),
    "one_shot": lambda: OneShotMagnitude(
        0.5, epochs=1, distribution="uniform", pattern="units"
    ),
    "gradual": lambda: GradualMagnitude(
        0.5, epochs=1, interval=1, distribution="uniform", pattern="units"
    ),
    "dissipating": lambda: DissipatingGradients(
        0.5, epochs=1, interval=1, distribution="uniform", pattern="units"
    ),
    **{
        f"k_starts_{selection}": lambda selection=selection: KStarts(
            4,
            0.5,
            epochs=1,
            selection=selection,
            distribution="uniform",
            pattern="units",
        )
        for selection in ("network", "layer", "recombine")
    },
}


@pytest.mark.parametrize(
    "make", cells(CALLBACKS, by_default=["dissipating", "k_starts_recombine"])
)
def test_every_callback_removes_units(make):
    model = residual_network()
    history = model.fit(
        DATA, TARGETS, batch_size=8, epochs=2, callbacks=[make()], verbose=0
    )
    # Of the layers that can lose units; the output layer has no mask.
    assert history.history["sparsity"][-1] == pytest.approx(0.5)
    assert_half_of_the_units(model)
    assert_compact_takes_them_out(model)


def test_one_phase_after_another_removes_units_further():
    model = residual_network()
    callbacks = [
        KStarts(4, 0.25, epochs=1, distribution="uniform", pattern="units"),
        DissipatingGradients(0.5, epochs=1, distribution="uniform", pattern="units"),
    ]
    model.fit(DATA, TARGETS, epochs=2, callbacks=callbacks, verbose=0)
    assert_half_of_the_units(model)


@pytest.mark.parametrize("distribution", ["erk", "global"])
def test_units_of_layers_compete_as_weights_do(distribution):
    model = residual_network()
    prune(model, "magnitude", 0.5, pattern="units", distribution=distribution)
    units = kept_units(model)
    assert (units["stem/kernel"] == units["outer/kernel"]).all()
    masks = get_masks(model).values()
    share = sum(m.sum() for m in masks) / sum(m.size for m in masks)
    # The largest unit is a row of the two tied tensors.
    assert share == pytest.approx(0.5, abs=100 / sum(m.size for m in masks))


def test_frozen_layers_keep_their_units():
    model = residual_network()
    model.get_layer("inner").trainable = False
    prune(model, "magnitude", 0.5, pattern="units", distribution="uniform")
    assert set(kept_units(model)) == {"stem/kernel", "outer/kernel"}


@pytest.mark.parametrize("method", [RigL, SET])
def test_methods_that_rewire_know_no_units(method):
    with pytest.raises(TypeError, match="pattern"):
        method(0.5, pattern="units")


@pytest.mark.parametrize("pattern", ["2:4", "unit", (4, 1), 3])
def test_callbacks_take_no_other_pattern(pattern):
    with pytest.raises(ValueError, match=r"`pattern` of a callback.*Received: pattern"):
        GradualMagnitude(0.5, pattern=pattern)


def test_arguments_that_do_not_go_with_units_are_refused():
    with pytest.raises(ValueError, match="another `selection` than 'unit'"):
        KStarts(selection="unit", pattern="units")
    with pytest.raises(ValueError, match="every weight is judged by itself"):
        DissipatingGradients(fraction=0.2, pattern="units")
