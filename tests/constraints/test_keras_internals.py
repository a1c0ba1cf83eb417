"""What masks need of Keras' private parts; a change of Keras fails here first."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_leak_matrix import MODELS, Block, Subclass, compiled, functional, register

from keras_initprune import (
    MaskConstraint,
    RandomPruning,
    compact,
    export,
    find_leaks,
    fit_sparse,
    get_masks,
    install_masks,
    project,
    prune,
    remove_masks,
    set_masks,
    to_sparse,
)
from keras_initprune.constraints import wrappers
from keras_initprune.constraints.mask_constraint import GuardedMask, GuardedWeight

layers = keras.layers


@register
class Wide(layers.Layer):
    """A layer whose two names for one sublayer change with its argument."""

    def __init__(self, other=False, **kwargs):
        super().__init__(**kwargs)
        self.other = other
        self.second = layers.Dense(4)
        self.first = layers.Dense(4) if other else None

    def build(self, shape):
        for part in (self.first, self.second):
            if part is not None:
                part.build(shape)
        self.built = True

    def call(self, inputs):
        return self.second(inputs)


@pytest.fixture
def pruned():
    model = functional(Block(), layers.Dense(3))
    prune(model, "random", 0.5, distribution="uniform", seed=0)
    return model


@pytest.fixture
def data(rng):
    shapes = ((32, 8), (32, 3))
    return tuple(rng.normal(size=shape).astype("float32") for shape in shapes)


def test_keras_has_what_is_wrapped_and_it_is_wrapped_once():
    before = [getattr(owner, name) for owner, name, _ in wrappers.WRAPPERS]
    wrappers.wrap_keras()
    after = [getattr(owner, name) for owner, name, _ in wrappers.WRAPPERS]
    assert before == after
    assert all(hasattr(function, wrappers._WRAPPED) for function in after)


def test_another_keras_is_refused(monkeypatch):
    missing = ((keras.Model, "no_such_function", print),)
    monkeypatch.setattr(wrappers, "WRAPPERS", missing)
    with pytest.raises(ImportError, match="it has no `no_such_function`"):
        wrappers.wrap_keras()


def test_a_weight_is_guarded_as_long_as_its_constraint_is_a_mask(make_model):
    model = install_masks(make_model())
    kernel = model.layers[0].kernel
    assert isinstance(kernel, GuardedWeight)
    assert isinstance(kernel.constraint.mask, GuardedMask)
    plain = type(model.layers[0].bias)
    remove_masks(model)
    assert type(kernel) is plain
    kernel.constraint = MaskConstraint(kernel.shape)
    assert isinstance(kernel, GuardedWeight)


@pytest.mark.parametrize("bad", [0.5, -1.0, 2, np.nan])
def test_a_mask_takes_zeros_and_ones_only(bad, make_model):
    model = install_masks(make_model())
    mask = model.layers[0].kernel.constraint.mask
    before = model.get_weights()
    with pytest.raises(ValueError, match="must hold only 0 and 1"):
        mask.assign(np.full(mask.shape, bad))
    noisy = [weight + bad / 3 for weight in before]
    with pytest.raises(ValueError, match="must hold only 0 and 1"):
        model.set_weights(noisy)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_assigning_a_mask_zeros_its_weight_at_once(make_model):
    model = install_masks(make_model())
    kernel = model.layers[0].kernel
    kernel.constraint.mask.assign(np.zeros(kernel.shape))
    assert not kernel.numpy().any()


def test_weights_and_masks_are_set_together(make_model, rng):
    """A weight that the old mask removes and the new one keeps is not lost."""
    first, second = make_model(), make_model()
    for model in (first, second):
        install_masks(model)
        masks = get_masks(model)
        set_masks(model, {p: rng.random(m.shape) < 0.5 for p, m in masks.items()})
    expected = first.get_weights()
    second.set_weights(expected)
    for old, new in zip(expected, second.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.tf_only("TensorFlow's checkpoints")
def test_a_checkpoint_brings_weights_and_masks_together(make_model, tmp_path):
    first, second = make_model(), make_model()
    prune(first, "random", 0.5, seed=1)
    prune(second, "random", 0.5, seed=2)
    path = tf.train.Checkpoint(model=first).save(tmp_path / "first")
    tf.train.Checkpoint(model=second).restore(path).expect_partial()
    for old, new in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_masks_without_a_weight_are_named(tmp_path):
    model = functional(Wide(other=True, name="wide"))
    install_masks(model)
    model.save_weights(tmp_path / "w.weights.h5")
    fresh = functional(Wide(name="wide"))
    with pytest.warns(UserWarning, match="no weight, .*: layers/wide/first/kernel_con"):
        fresh.load_weights(tmp_path / "w.weights.h5")
    assert len(get_masks(fresh)) == 1


def test_a_graph_traced_before_pruning_is_noticed(data):
    """TensorFlow keeps what it has traced; nothing can be put into it later."""
    model = compiled(MODELS["sequential"]())
    model.optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)

    step()
    prune(model, "random", 0.5, seed=0)
    assert find_leaks(model) == {}
    step()
    assert find_leaks(model).keys() == get_masks(model).keys()
    project(model)
    assert find_leaks(model) == {}


def test_layers_of_ones_own_are_exported_compacted_and_made_sparse(
    pruned, data, tmp_path
):
    x = data[0]
    expected = pruned.predict(x, verbose=0)
    masks = list(get_masks(pruned).values())
    for path in (
        export(pruned, tmp_path / "plain.keras", "keras"),
        export(pruned, tmp_path / "saved", "saved_model"),
    ):
        assert path.exists()
    plain = keras.models.load_model(tmp_path / "plain.keras")
    assert get_masks(plain) == {}
    for other in (plain, to_sparse(pruned), compact(pruned, keep_masks=True)):
        np.testing.assert_allclose(other.predict(x, verbose=0), expected, atol=1e-5)
    compacted = list(get_masks(compact(pruned, keep_masks=True)).values())
    for before, after in zip(masks, compacted, strict=True):
        np.testing.assert_array_equal(before, after)


def test_layers_of_ones_own_are_trained_sparsely(data):
    model = compiled(functional(Block(), layers.Dense(3)))
    callbacks = [RandomPruning(0.5, distribution="uniform", seed=0)]
    sparse, _ = fit_sparse(model, *data, epochs=3, callbacks=callbacks, verbose=0)
    assert len(get_masks(sparse)) == 6
    assert find_leaks(sparse) == {}
    assert all(mask.mean() < 1 for mask in get_masks(sparse).values())


def test_a_subclass_that_can_be_saved_is_exported(data, tmp_path):
    model = MODELS["subclass"]()
    prune(model, "random", 0.5, distribution="uniform", seed=0)
    expected = model(data[0])
    export(model, tmp_path / "plain.keras", "keras")
    loaded = keras.models.load_model(tmp_path / "plain.keras")
    assert isinstance(loaded, Subclass)
    assert get_masks(loaded) == {}
    assert len(get_masks(model)) == 6
    np.testing.assert_allclose(loaded(data[0]), expected, atol=1e-6)


def test_a_model_traced_before_its_part_got_masks_applies_them(data):
    part = keras.Sequential([keras.Input((8,)), layers.Dense(8)])
    whole = compiled(functional(part, layers.Dense(3)))
    whole.fit(*data, verbose=0)
    prune(part, "random", 0.5, seed=0)
    whole.fit(*data, verbose=0)
    assert find_leaks(whole) == {}


def test_a_part_traced_before_its_model_got_masks_applies_them(data):
    part = compiled(keras.Sequential([keras.Input((8,)), layers.Dense(8)]))
    whole = functional(part, layers.Dense(3))
    part.train_on_batch(data[0], data[0])
    prune(whole, "random", 0.5, seed=0)
    part.train_on_batch(data[0], data[0])
    assert find_leaks(whole) == {}
