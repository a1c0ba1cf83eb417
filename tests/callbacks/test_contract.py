"""What every pruning callback promises, tested on every row of the settings table."""

import inspect

import keras
import numpy as np
import pytest
from settings import every_kind, every_setting

from keras_initprune import get_masks, sparsity
from keras_initprune.constraints.weights import prunable_weights

SIZE = 12 * 16 + 16 * 8 + 8 * 3
EPOCHS = 4


def kernels(model):
    return {path: weight.numpy() for path, weight in prunable_weights(model).items()}


def assert_sparse(model):
    for path, mask in get_masks(model).items():
        assert (kernels(model)[path][~mask] == 0).all(), path


def sparsity_of_masks(model):
    masks = get_masks(model).values()
    return 1 - sum(mask.sum() for mask in masks) / SIZE


def same_masks(first, second):
    return all((first[path] == second[path]).all() for path in first)


@pytest.fixture
def fit(regression_data):
    """Return a function that trains a model and checks that its zeros are its masks."""

    def fit(model, callbacks, epochs=EPOCHS, **arguments):
        history = model.fit(
            *regression_data,
            batch_size=16,
            epochs=epochs,
            verbose=0,
            shuffle=False,
            callbacks=callbacks,
            **arguments,
        )
        assert_sparse(model)
        return history.history

    return fit


@pytest.fixture
def eager_model(make_model):
    """Return a function that makes a model for which nothing has to be traced."""
    return lambda optimizer="adam": make_model(optimizer, run_eagerly=True)


@every_kind
def test_reaches_the_sparsity_and_keeps_it(setting, make_model, fit):
    model = make_model()
    history = fit(model, setting.make(0))
    assert history["sparsity"][-1] == pytest.approx(setting.sparsity, abs=1.5 / SIZE)
    assert history["sparsity"][-1] == pytest.approx(sparsity_of_masks(model))
    assert setting.keeps_zeros or sparsity(model) == pytest.approx(
        sparsity_of_masks(model)
    )
    assert len(history["sparsity"]) == EPOCHS
    masks = get_masks(model)
    fit(model, callbacks=[], epochs=1)
    assert same_masks(get_masks(model), masks)


@every_kind
def test_can_be_used_again(setting, eager_model, fit):
    callbacks = setting.make(0)
    results = []
    for _ in range(2):
        model = eager_model()
        fit(model, callbacks)
        results.append(get_masks(model))
    assert same_masks(*results)


@every_kind
def test_the_seed_decides(setting, eager_model, fit):
    results = []
    for seed in (0, 1):
        model = eager_model()
        fit(model, setting.make(seed))
        results.append(get_masks(model))
    assert same_masks(*results) != setting.seeded


@every_kind
def test_leaves_the_model_and_the_optimizer_as_they_were(setting, eager_model, fit):
    model = eager_model()
    before = set(vars(model)), set(vars(model.optimizer))
    fit(model, setting.make(0))
    added = [
        name
        for owner, names in zip((model, model.optimizer), before, strict=True)
        for name in set(vars(owner)) - names
    ]
    assert not {"apply", "set_weights"} & set(added)
    assert not any("initprune" in name for name in added)


@every_setting
def test_stores_its_arguments(setting):
    for callback in setting.make(0):
        for argument in inspect.signature(type(callback)).parameters:
            assert hasattr(callback, argument), argument


@every_kind
def test_averages_of_weights_are_sparse(setting, eager_model, fit):
    model = eager_model(keras.optimizers.Adam(0.01, use_ema=True))
    fit(model, setting.make(0))
    fit(model, callbacks=[], epochs=1)


@every_kind
def test_frozen_layers_are_left_alone(setting, make_model, fit):
    model = make_model(compiled=False)
    model.layers[0].trainable = False
    model.compile("adam", "mse", run_eagerly=True)
    fit(model, setting.make(0))
    assert get_masks(model)["hidden_1/kernel"].all()
    assert not get_masks(model)["hidden_2/kernel"].all()


@every_kind
def test_early_stopping_brings_no_pruned_weight_back(setting, eager_model, fit):
    """The best epoch is the first, when most of the callbacks have not pruned yet."""
    model = eager_model()
    stopping = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=EPOCHS, restore_best_weights=True
    )
    for callbacks in (
        [*setting.make(0), stopping],
        [stopping, *setting.make(0)],
    ):
        model = eager_model(keras.optimizers.Adam(0.05))
        if setting.epochs < 2 or setting.rewires:
            fit(model, callbacks)
        else:
            with pytest.warns(UserWarning, match="from before the network had its fin"):
                fit(model, callbacks)
        reached = sparsity_of_masks(model)
        assert reached == pytest.approx(setting.sparsity, abs=1.5 / SIZE)


@every_setting
def test_diverged_training_prunes_by_nothing(setting, make_model, fit):
    if not setting.epochs:
        return
    model = make_model(keras.optimizers.SGD(1e30), run_eagerly=True)
    with pytest.raises(FloatingPointError, match=r"loss became|became NaN or inf"):
        fit(model, setting.make(0))
    if setting.gradual:
        # The first weights went while everything was finite, and then none.
        assert sparsity(model) < setting.sparsity
    else:
        is_dense = all(np.all(mask) for mask in get_masks(model).values())
        assert is_dense != setting.rewires
