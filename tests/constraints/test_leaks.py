"""A pruned weight is zero after every step, however the network is trained."""

import itertools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from matrix import cells

from keras_initprune import (
    DissipatingGradients,
    KStarts,
    Layers,
    get_masks,
    install_masks,
    set_masks,
    sparsity,
)
from keras_initprune.constraints.training import optimizer_slots
from keras_initprune.constraints.weights import prunable_weights

OPTIMIZERS = sorted(
    name
    for name, value in vars(keras.optimizers).items()
    if isinstance(value, type)
    and issubclass(value, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
)
OPTIONS = {
    "plain": {},
    "weight_decay": {"weight_decay": 0.1},
    "clipvalue": {"clipvalue": 0.01},
    "clipnorm": {"clipnorm": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.1},
    "accumulation": {"gradient_accumulation_steps": 2},
    "ema": {"use_ema": True},
    "ema_overwriting": {"use_ema": True, "ema_overwrite_frequency": 2},
    "loss_scale": {},
}
MATRIX = cells(
    itertools.product(OPTIMIZERS, OPTIONS),
    by_default=list(itertools.product(OPTIMIZERS, ["ema_overwriting"])),
)


def make_optimizer(name, option="plain", **arguments):
    arguments = {"learning_rate": 0.05, **OPTIONS[option], **arguments}
    if name == "SGD":
        arguments.update(momentum=0.9, nesterov=True)
    if name == "RMSprop":
        arguments.update(momentum=0.9, centered=True)
    if name == "Adam":
        arguments.update(amsgrad=True)
    optimizer = getattr(keras.optimizers, name)(**arguments)
    if option == "loss_scale":
        return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    return optimizer


def step(model, data):
    """Take one step in a loop of one's own."""
    x, y = data
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        loss = model.optimizer.scale_loss(loss)
    variables = model.trainable_variables
    model.optimizer.apply(tape.gradient(loss, variables), variables)


def prune_half(model, rng):
    install_masks(model)
    set_masks(
        model, {p: rng.random(m.shape) < 0.5 for p, m in get_masks(model).items()}
    )


def assert_sparse(model):
    masks = get_masks(model)
    assert not all(mask.all() for mask in masks.values())
    for path, weight in prunable_weights(model).items():
        values = weight.numpy()
        assert np.isfinite(values).all(), path
        assert (values[~masks[path]] == 0).all(), path


def assert_slots_are_cleared(model, masks=None):
    masks = get_masks(model) if masks is None else masks
    slots = optimizer_slots(model)
    for path, weight in prunable_weights(model).items():
        for variable, initial in slots[id(weight.variable)]:
            pruned = keras.ops.convert_to_numpy(variable)[~masks[path]]
            np.testing.assert_array_equal(pruned, np.float32(initial), err_msg=path)


@pytest.mark.parametrize(("name", "option"), MATRIX)
def test_optimizers(name, option, make_model, regression_data, rng):
    model = make_model(make_optimizer(name, option))
    install_masks(model)
    for _ in range(3):
        step(model, regression_data)
    kept = [weight.numpy() for weight in prunable_weights(model).values()]
    prune_half(model, rng)
    assert_sparse(model)
    assert_slots_are_cleared(model)
    for _ in range(4):
        step(model, regression_data)
        assert_sparse(model)
    # Muon and Adafactor mix the entries of a tensor, but the averages stay sparse.
    if "ema" in option or name not in ("Muon", "Adafactor"):
        model.optimizer.finalize_variable_values(model.trainable_variables)
        assert_sparse(model)
    moved = [weight.numpy() for weight in prunable_weights(model).values()]
    for before, after in zip(kept, moved, strict=True):
        assert (before != after)[after != 0].any(), "survivors train on"


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.whole_matrix
def test_optimizers_within_fit(name, make_model, regression_data):
    model = make_model(make_optimizer(name, use_ema=True))
    callbacks = [
        KStarts(4, 0.5, 1, "combined", seed=0),
        DissipatingGradients(0.75, epochs=1),
    ]
    model.fit(*regression_data, epochs=3, verbose=0, callbacks=callbacks)
    assert_sparse(model)
    assert sparsity(model) == pytest.approx(0.75, abs=0.01)
    model.fit(*regression_data, epochs=1, verbose=0)
    assert_sparse(model)


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras is too old for it"
)
def test_several_optimizers_in_one(make_model, regression_data):
    optimizers = {
        ".*hidden.*": keras.optimizers.AdamW(0.05, weight_decay=0.5, use_ema=True),
        ".*output.*": keras.optimizers.SGD(0.05, momentum=0.9),
    }
    several = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.01), optimizers)
    )
    model = make_model(several, run_eagerly=True)
    callbacks = [
        KStarts(4, 0.5, 1, "combined", seed=0),
        DissipatingGradients(0.75, epochs=1),
    ]
    model.fit(*regression_data, epochs=3, verbose=0, callbacks=callbacks)
    assert_sparse(model)
    assert_slots_are_cleared(model)
    assert sparsity(model) == pytest.approx(0.75, abs=0.01)


def test_pruned_weights_do_not_count_in_a_global_norm(make_model, regression_data, rng):
    """Clipping scales the gradients of survivors by their own norm."""
    model = make_model(keras.optimizers.SGD(1.0, global_clipnorm=1e-3))
    prune_half(model, rng)
    before = [variable.numpy() for variable in model.trainable_variables]
    step(model, regression_data)
    moves = [
        variable.numpy() - old
        for variable, old in zip(model.trainable_variables, before, strict=True)
    ]
    norm = np.sqrt(sum(np.square(move).sum() for move in moves))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_weights_that_come_back_begin_like_new_ones(make_model, regression_data, rng):
    """Ftrl divides by its sum of squares: zero would make NaN of it."""
    for name in ("Ftrl", "Adagrad", "Adam"):
        model = make_model(make_optimizer(name))
        prune_half(model, rng)
        for _ in range(2):
            step(model, regression_data)
        removed = get_masks(model)
        set_masks(model, {path: np.ones_like(mask) for path, mask in removed.items()})
        assert_slots_are_cleared(model, removed)
        step(model, regression_data)
        for weight in prunable_weights(model).values():
            assert np.isfinite(weight.numpy()).all(), name


def test_rows_of_an_embedding(rng):
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), keras.layers.Embedding(6, 3)]
    )
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=1e9)
    model.compile(optimizer, "mae", jit_compile=False)
    install_masks(model, Layers(embeddings=True))
    path, mask = next(iter(get_masks(model).items()))
    mask[:, 1] = False
    set_masks(model, {path: mask})
    model.fit(np.array([[1, 1, 1, 2]]), -np.ones((1, 4, 3)), verbose=0)
    assert (model.get_weights()[0][:, 1] == 0).all()
    assert (model.optimizer.momentums[0].numpy()[:, 1] == 0).all()
    assert (model.optimizer.momentums[0].numpy()[1:3, 0] != 0).all()


class CustomStep(keras.Model):
    """A network with a `train_step` of its own."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(16, activation="relu")
        self.out = keras.layers.Dense(3)

    def call(self, inputs):
        return self.out(self.hidden(inputs))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss}


class Sequence(keras.utils.PyDataset):
    def __init__(self, data):
        super().__init__()
        self.data = data

    def __len__(self):
        return 4

    def __getitem__(self, index):
        part = slice(16 * index, 16 * index + 16)
        return self.data[0][part], self.data[1][part]


def generator(data):
    while True:
        for index in range(4):
            yield Sequence(data)[index]


def custom_model(data):
    model = CustomStep()
    model(data[0])
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    return model


# How data comes, and how steps are compiled.
WAYS_OF_FITTING = {
    "arrays": ({}, lambda data: {"x": data[0], "y": data[1], "batch_size": 16}),
    "dataset": (
        {},
        lambda data: {"x": tf.data.Dataset.from_tensor_slices(data).batch(16)},
    ),
    "generator": ({}, lambda data: {"x": generator(data), "steps_per_epoch": 4}),
    "sequence": ({}, lambda data: {"x": Sequence(data)}),
    "validation": (
        {},
        lambda data: {"x": data[0], "y": data[1], "validation_split": 0.25},
    ),
    "jit": ({"jit_compile": True}, lambda data: {"x": data[0], "y": data[1]}),
    "jit_auto": ({"jit_compile": "auto"}, lambda data: {"x": data[0], "y": data[1]}),
    "eager": ({"run_eagerly": True}, lambda data: {"x": data[0], "y": data[1]}),
    "steps_per_execution": (
        {"steps_per_execution": 3},
        lambda data: {"x": data[0], "y": data[1], "batch_size": 8},
    ),
}


def combination():
    return [
        KStarts(4, 0.5, 1, "combined", seed=0),
        DissipatingGradients(0.75, epochs=1),
    ]


@pytest.mark.parametrize(
    "way",
    cells(
        list(WAYS_OF_FITTING),
        by_default=["arrays", "dataset", "jit", "eager", "steps_per_execution"],
    ),
)
def test_ways_of_fitting(way, make_model, regression_data):
    compile_arguments, fit_arguments = WAYS_OF_FITTING[way]
    model = make_model(keras.optimizers.Adam(0.01), **compile_arguments)
    for callbacks in (combination(), []):
        model.fit(
            **fit_arguments(regression_data),
            epochs=3,
            verbose=0,
            shuffle=False,
            callbacks=callbacks,
        )
        assert_sparse(model)
        assert sparsity(model) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, make_model, regression_data):
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = make_model(keras.optimizers.Adam(0.01))
        model.fit(*regression_data, epochs=3, verbose=0, callbacks=combination())
        assert_sparse(model)
        model.fit(*regression_data, epochs=1, verbose=0)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert_sparse(model)
    assert sparsity(model) == pytest.approx(0.75, abs=0.01)


def test_a_train_step_of_ones_own(regression_data):
    model = custom_model(regression_data)
    model.fit(*regression_data, epochs=3, verbose=0, callbacks=combination())
    model.fit(*regression_data, epochs=1, verbose=0)
    assert_sparse(model)


def test_training_on_single_batches(make_model, regression_data, rng):
    model = make_model(keras.optimizers.Adam(0.01))
    prune_half(model, rng)
    for _ in range(3):
        model.train_on_batch(*regression_data)
        assert_sparse(model)


def test_a_second_phase_prunes_on(make_model, regression_data):
    model = make_model(run_eagerly=True)
    model.fit(*regression_data, epochs=2, verbose=0, callbacks=combination())
    more = [DissipatingGradients(0.9, epochs=1)]
    model.fit(*regression_data, epochs=1, verbose=0, callbacks=more)
    assert_sparse(model)
    assert sparsity(model) == pytest.approx(0.9, abs=0.01)


def test_compiling_anew_and_freezing(make_model, regression_data):
    model = make_model(run_eagerly=True)
    model.fit(*regression_data, epochs=2, verbose=0, callbacks=combination())
    masks = get_masks(model)
    for optimizer in ("rmsprop", keras.optimizers.SGD(0.1, use_ema=True)):
        model.layers[0].trainable = not model.layers[0].trainable
        model.compile(optimizer, "mse", run_eagerly=True)
        model.fit(*regression_data, epochs=1, verbose=0)
        assert_sparse(model)
    for path, mask in get_masks(model).items():
        assert (mask == masks[path]).all()


def keras_callbacks(folder):
    """Return the callbacks that users have beside ours, by name."""
    return {
        "early_stopping": keras.callbacks.EarlyStopping(
            "loss", patience=1, start_from_epoch=2, restore_best_weights=True
        ),
        "checkpoint": keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        "checkpoint_of_weights": keras.callbacks.ModelCheckpoint(
            folder / "best.weights.h5",
            "loss",
            save_best_only=True,
            save_weights_only=True,
        ),
        "backup": keras.callbacks.BackupAndRestore(folder / "backup"),
        "tensorboard": keras.callbacks.TensorBoard(folder, histogram_freq=1),
        "csv": keras.callbacks.CSVLogger(folder / "log.csv"),
        "nan": keras.callbacks.TerminateOnNaN(),
        "rate": keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch)),
        "plateau": keras.callbacks.ReduceLROnPlateau("loss", patience=0),
        "averages": keras.callbacks.SwapEMAWeights(),
        "averages_of_epochs": keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
    }


class Sparse(keras.callbacks.Callback):
    """Checks the weights at every moment at which somebody may look at them."""

    def check(self, *arguments, **keywords):
        masks = get_masks(self.model)
        for path, weight in prunable_weights(self.model).items():
            assert (weight.numpy()[~masks[path]] == 0).all(), path

    on_test_begin = on_test_end = on_epoch_begin = on_epoch_end = check
    on_train_batch_end = on_train_end = check


@pytest.mark.parametrize("ours_first", cells([True, False], by_default=[True]))
@pytest.mark.parametrize(
    "name",
    cells(
        list(keras_callbacks(pathlib.Path("x"))),
        by_default=["early_stopping", "checkpoint", "backup", "averages"],
    ),
)
def test_callbacks_of_keras(name, ours_first, make_model, regression_data, tmp_path):
    model = make_model(keras.optimizers.Adam(0.01, use_ema=True), run_eagerly=True)
    theirs = [keras_callbacks(tmp_path)[name], Sparse()]
    callbacks = [*combination(), *theirs] if ours_first else [*theirs, *combination()]
    model.fit(
        *regression_data,
        batch_size=16,
        epochs=4,
        verbose=0,
        validation_data=regression_data,
        callbacks=callbacks,
    )
    assert_sparse(model)
    assert sparsity(model) == pytest.approx(0.75, abs=0.01)
    model.fit(*regression_data, verbose=0, callbacks=theirs)
    assert_sparse(model)
