"""The contract that every backend of Keras keeps: run it with `-m backends`."""

import keras
import numpy as np
import pytest
from matrix import cells
from reference import convolutional, data, numbers, perceptron

import keras_initprune as initprune
from keras_initprune import (
    KStarts,
    RigL,
    compact,
    export,
    find_leaks,
    get_masks,
    prune,
    remove_masks,
    report,
    set_masks,
    to_sparse,
)
from keras_initprune.deploy import numpy_runtime

optimizers = keras.optimizers

OPTIMIZERS = [
    name
    for name in (
        *("SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax"),
        *("Adafactor", "Nadam", "Ftrl", "Lion", "Lamb", "Muon", "ScheduleFreeAdamW"),
    )
    if hasattr(optimizers, name)
]
# On TensorFlow they train in `constraints/test_leaks.py` as well.
MATRIX = cells(OPTIMIZERS, by_default=["Adam"])
OPTIONS = {
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "clipnorm": lambda: optimizers.Adam(0.1, clipnorm=1.0),
    "global_clipnorm": lambda: optimizers.Adam(0.1, global_clipnorm=1.0),
    "use_ema": lambda: optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
    "accumulation": lambda: optimizers.Adam(0.1, gradient_accumulation_steps=2),
    "loss_scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.1)),
}


def fit(model, epochs=1, **arguments):
    return model.fit(
        *data(), batch_size=32, epochs=epochs, shuffle=False, verbose=0, **arguments
    )


def assert_trains_within_its_masks(model):
    """Train with masks, then with others that bring some weights back."""
    prune(model, "random", 0.5, seed=0)
    fit(model)
    assert find_leaks(model) == {}
    before = get_masks(model)
    masks = {p: m ^ (numbers(*m.shape, seed=9) > 1) for p, m in before.items()}
    set_masks(model, masks)
    model.train_on_batch(*data())
    model.train_on_batch(*data())
    fit(model)
    assert find_leaks(model) == {}
    kernel, path = model.layers[0].kernel.numpy(), "hidden_1/kernel"
    assert kernel[masks[path] & ~before[path]].any()


@pytest.mark.backends("Masks hold under every optimizer of Keras")
@pytest.mark.parametrize("name", MATRIX)
def test_masks_hold_under_every_optimizer(name):
    assert_trains_within_its_masks(perceptron(getattr(optimizers, name)(0.1)))


@pytest.mark.backends("Clipping, averages, accumulation, loss scaling")
@pytest.mark.parametrize("optimizer", OPTIONS.values(), ids=OPTIONS)
def test_masks_hold_under_options(optimizer):
    assert_trains_within_its_masks(perceptron(optimizer()))


@pytest.mark.backends("Mixed precision")
def test_masks_hold_in_half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = perceptron()
    finally:
        keras.config.set_dtype_policy(before)
    assert model.layers[0].compute_dtype == "bfloat16"
    assert_trains_within_its_masks(model)


@pytest.mark.backends("Steps with `jit_compile=True`, `run_eagerly=True` or neither")
@pytest.mark.parametrize("how", ["jit_compile", "run_eagerly"])
# PyTorch's compiler warns of what Keras does.
@pytest.mark.filterwarnings("ignore")
def test_masks_hold_however_the_step_is_run(how):
    assert_trains_within_its_masks(perceptron(**{"jit_compile": False, how: True}))


@pytest.mark.backends("Pruned weights have no say in a norm")
def test_a_norm_counts_no_pruned_weight():
    """Two models that differ in pruned weights alone take the same step."""
    results = []
    for noise in (0.0, 10.0):
        model = perceptron(optimizers.SGD(0.1, global_clipnorm=0.1))
        kernel = model.layers[0].kernel
        mask = numbers(*kernel.shape, seed=5) > 0
        kernel.assign(np.where(mask, kernel.numpy(), noise))
        initprune.install_masks(model)
        set_masks(model, {"hidden_1/kernel": mask})
        fit(model)
        results.append(model.get_weights())
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.backends("A training step of one's own, with `optimizer.apply`")
def test_masks_hold_in_a_step_of_ones_own():
    model = perceptron()
    prune(model, "random", 0.5, seed=0)
    model.optimizer.build(model.trainable_variables)
    gradients = [keras.ops.ones(v.shape) for v in model.trainable_variables]
    before = model.layers[0].kernel.numpy()
    model.optimizer.apply(gradients, model.trainable_variables)
    assert find_leaks(model) == {}
    assert (model.layers[0].kernel.numpy() != before).any()


@pytest.mark.backends("Masks come back with a saved model, and hold without a callback")
def test_a_loaded_model_keeps_its_masks(tmp_path):
    model = perceptron()
    prune(model, "random", 0.5, seed=0)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for old, new in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    fit(loaded)
    assert find_leaks(loaded) == {}
    weights = tmp_path / "model.weights.h5"
    model.save_weights(weights)
    plain = perceptron()
    plain.optimizer.build(plain.trainable_variables)
    plain.load_weights(weights)
    fit(plain)
    assert find_leaks(plain) == {}
    assert get_masks(plain).keys() == get_masks(model).keys()


class Stop(keras.callbacks.Callback):
    """Ends training as a killed process would."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def with_dropout():
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(16, activation="relu", name="hidden_1"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, name="output"),
        ]
    )
    model.compile("adam", "mse", jit_compile=False)
    model.layers[0].kernel.assign(numbers(12, 16, seed=1))
    model.layers[2].kernel.assign(numbers(16, 3, seed=2))
    return model


METHODS = {
    "k_starts": lambda: KStarts(4, 0.8, epochs=3, fitness="gradient", seed=0),
    "rigl": lambda: RigL(0.8, epochs=3, interval=2, seed=0),
}


@pytest.mark.backends("A killed training goes on and ends with the same masks")
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_killed_training_goes_on(method, tmp_path):
    def train(*callbacks):
        keras.utils.set_random_seed(0)
        model = with_dropout()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit(model, 4, callbacks=[backup, method(), *callbacks])
        return get_masks(model)

    with pytest.raises(KeyboardInterrupt):
        train(Stop())
    # The killed process leaves nothing behind but its backup.
    resumed = train()
    expected = train()
    for path, mask in expected.items():
        np.testing.assert_array_equal(resumed[path], mask)


@pytest.mark.backends("Checkpoints while gradients are gathered")
def test_a_recorder_leaves_the_optimizer_and_its_files_alone(tmp_path):
    model = perceptron()
    count = len(model.optimizer.variables)

    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(tmp_path / "model.keras")

    fit(model, callbacks=[Save(), KStarts(4, 0.8, 1, "gradient", seed=0)])
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables) > count
    for old, new in zip(
        model.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        assert old.shape == new.shape


@pytest.mark.backends("Every criterion of `prune`")
def test_scores_come_in_the_order_of_the_layers():
    layers = [keras.layers.Dense(4, name="z"), keras.layers.Dense(3, name="a")]
    model = keras.Sequential([keras.Input((12,)), *layers])
    model.compile("sgd", "mse", run_eagerly=False)
    for method in ("snip", "grasp", "synflow"):
        scores = initprune.score_weights(model, method, data())
        assert list(scores) == ["z/kernel", "a/kernel"]


@pytest.mark.backends("Reports: sparsity, effective sparsity, FLOPs")
@pytest.mark.parametrize("make", [perceptron, convolutional])
def test_reports_count_what_is_alive(make):
    model = make()
    kernel = model.layers[-1].kernel.numpy()
    units = {perceptron: 8, convolutional: 6}[make]
    # The output reads the first unit, or channel, no more.
    kernel.reshape(-1, units, 3)[:, 0] = 0.0
    model.layers[-1].kernel.assign(kernel)
    *_, hidden, output = report(model).rows
    assert output.kept == output.parameters * (units - 1) // units
    assert output.effective == output.kept
    assert hidden.effective < hidden.kept
    assert output.flops_sparse < output.flops_dense


@pytest.mark.backends("Compaction, with masks or without")
@pytest.mark.parametrize("make", [perceptron, convolutional])
def test_a_compacted_model_computes_the_same(make):
    x, model = data()[0], make()
    prune(model, "magnitude", 0.85)
    expected = model.predict(x, verbose=0)
    small = compact(model, keep_masks=True)
    assert small.count_params() < model.count_params()
    for _ in range(2):
        np.testing.assert_allclose(small.predict(x, verbose=0), expected, atol=1e-4)
        # Neither shares what the other trains.
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    fit(small)
    assert find_leaks(small) == {}


@pytest.mark.backends("Export to plain Keras files and to NumPy")
def test_exported_models_compute_the_same(tmp_path):
    x, model = data()[0], perceptron()
    prune(model, "magnitude", 0.5)
    expected = model.predict(x, verbose=0)
    plain = keras.models.load_model(export(model, tmp_path / "plain.keras"))
    assert get_masks(plain) == {}
    runtime = numpy_runtime.load(export(model, tmp_path / "model.npz", "numpy"))
    for outputs in (plain.predict(x, verbose=0), runtime.predict(x)):
        np.testing.assert_allclose(outputs, expected, atol=1e-4)


@pytest.mark.backends("Lottery tickets")
def test_a_lottery_ticket_is_drawn():
    model = perceptron()
    tickets = initprune.lottery_ticket(
        model, lambda m, callbacks: fit(m, callbacks=callbacks), 0.5, 2, verbose=0
    )
    assert [len(tickets.rounds), tickets.rounds[-1].sparsity] == [3, 0.5]
    assert find_leaks(model) == {}


@pytest.mark.backends("Sanity checks: shuffled masks, new weights")
def test_sanity_checks_run():
    from keras_initprune import sanity_checks

    model = perceptron()
    prune(model, "magnitude", 0.5)
    before = {path: mask.sum() for path, mask in get_masks(model).items()}
    set_masks(model, sanity_checks.shuffle_layerwise(get_masks(model), seed=0))
    assert {path: mask.sum() for path, mask in get_masks(model).items()} == before
    sanity_checks.reinitialise(model, seed=0)
    assert find_leaks(model) == {}


@pytest.mark.backends("Masks are taken off, with every other constraint left")
def test_constraints_of_the_users_stay():
    model = perceptron()
    layer = model.layers[0]
    layer.kernel.constraint = layer.kernel_constraint = keras.constraints.MaxNorm(0.5)
    prune(model, "magnitude", 0.5)
    fit(model)
    norms = np.linalg.norm(layer.kernel.numpy(), axis=0)
    assert find_leaks(model) == {}
    assert norms.max() < 0.5001
    remove_masks(model)
    assert isinstance(layer.kernel_constraint, keras.constraints.MaxNorm)
    prune(model, "magnitude", 0.6)
    assert find_leaks(model) == {}


@pytest.mark.jax_only
def test_sparse_layers_are_refused():
    with pytest.raises(ValueError, match="are TensorFlow's and PyTorch's: `compact`"):
        to_sparse(perceptron())
