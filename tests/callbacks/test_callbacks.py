import inspect
import itertools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from matrix import cells
from settings import OFFERED

from keras_initprune import (
    SET,
    Combination,
    DissipatingGradients,
    GradualMagnitude,
    GraNet,
    KStarts,
    Layers,
    RandomPruning,
    RigL,
    get_masks,
    install_masks,
    sparsity,
)
from keras_initprune.arrays.selection import SELECTIONS, k_starts_masks
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.criteria.fitness import FITNESS
from keras_initprune.gradients import GradientRecorder

SIZE = 12 * 16 + 16 * 8 + 8 * 3


def kernels(model):
    return {path: weight.numpy() for path, weight in prunable_weights(model).items()}


def fit(model, data, callbacks, epochs=3, **arguments):
    history = model.fit(
        *data,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
        **arguments,
    )
    for path, mask in get_masks(model).items():
        assert ((kernels(model)[path] != 0) == mask).all(), path
    return history.history


class Snapshots(keras.callbacks.Callback):
    """Keeps the kernels as they are when every epoch begins and ends."""

    def on_train_begin(self, logs=None):
        self.initial = kernels(self.model)
        self.ends = []

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(kernels(self.model))


class SnapshotsBefore(Snapshots):
    """Keeps them as the last step of every epoch leaves them, before the pruning."""

    def on_train_batch_end(self, batch, logs=None):
        self.last = kernels(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.last)


@pytest.mark.parametrize(
    ("fitness", "selection"),
    cells(
        [
            *itertools.product(FITNESS, ["recombine"]),
            *itertools.product(["combined"], SELECTIONS),
        ],
        by_default=[("gradient", "recombine"), ("combined", "network")],
    ),
)
def test_k_starts_combinations(fitness, selection, make_model, regression_data):
    model = make_model()
    callback = KStarts(3, 0.75, 1, fitness, selection, "uniform", seed=1)
    fit(model, regression_data, [callback], epochs=2)
    counts = [int(mask.sum()) for mask in get_masks(model).values()]
    assert counts == [48, 32, 6]


@pytest.mark.parametrize("distribution", ["erk", "global", {"output/kernel": 0.0}])
def test_k_starts_distributions(distribution, make_model, regression_data):
    model = make_model()
    fit(model, regression_data, [KStarts(3, 0.75, 1, distribution=distribution)])
    kept = {path: int(mask.sum()) for path, mask in get_masks(model).items()}
    if isinstance(distribution, dict):
        assert kept == {
            "hidden_1/kernel": 48,
            "hidden_2/kernel": 32,
            "output/kernel": 24,
        }
    else:
        assert sum(kept.values()) == SIZE // 4


def test_k_starts_applies_what_the_pure_function_selects(make_model, regression_data):
    model = make_model()
    snapshots = SnapshotsBefore()
    callback = KStarts(5, 0.7, 2, "magnitude", "layer", seed=3)
    fit(model, regression_data, [snapshots, callback])
    weights = prunable_weights(model)
    expected = k_starts_masks(
        {path: np.abs(value) for path, value in snapshots.ends[1].items()},
        5,
        0.7,
        "layer",
        seed=3,
        keys={path: weight.key for path, weight in weights.items()},
    )
    for path, mask in get_masks(model).items():
        assert (mask == expected[path]).all()


def test_survivors_keep_their_trained_values(make_model, regression_data):
    model = make_model()
    before, after = SnapshotsBefore(), Snapshots()
    callbacks = [before, KStarts(4, 0.5, epochs=2, seed=0), after]
    fit(model, regression_data, callbacks, epochs=2)
    for path, mask in get_masks(model).items():
        assert (after.ends[1][path] == np.where(mask, before.ends[1][path], 0)).all()


def test_rewinding_puts_survivors_back(make_model, regression_data):
    model = make_model()
    initial, after = Snapshots(), Snapshots()
    callback = KStarts(4, 0.5, epochs=2, rewind=True, seed=0)
    fit(model, regression_data, [initial, callback, after], epochs=2)
    for path, mask in get_masks(model).items():
        assert (after.ends[1][path] == np.where(mask, initial.initial[path], 0)).all()


def test_seeds_decide_and_auto_named_layers_do_not(regression_data):
    def masks(seed):
        model = keras.Sequential(
            [keras.Input((12,)), keras.layers.Dense(9), keras.layers.Dense(3)]
        )
        model.compile("adam", "mse")
        fit(model, regression_data, [RandomPruning(0.5, seed=seed)], epochs=1)
        return [mask.tolist() for mask in get_masks(model).values()]

    assert masks(1) == masks(1)
    assert masks(1) != masks(2)


def test_without_a_seed_keras_decides(make_model, regression_data):
    def masks(seed):
        model = make_model()
        keras.utils.set_random_seed(seed)
        fit(model, regression_data, [RandomPruning(0.5)], epochs=1)
        return [mask.tolist() for mask in get_masks(model).values()]

    assert masks(1) == masks(1)
    assert masks(1) != masks(2)


@pytest.mark.parametrize("criterion", DISSIPATION)
@pytest.mark.parametrize(
    "distribution", cells(["global", "uniform", "erk"], by_default=["erk"])
)
def test_density_falls_geometrically(
    criterion, distribution, make_model, regression_data
):
    model = make_model()
    callback = DissipatingGradients(
        0.875, epochs=3, criterion=criterion, distribution=distribution
    )
    history = fit(model, regression_data, [callback], epochs=4)
    expected = [0.5, 0.75, 0.875, 0.875]
    assert history["sparsity"] == pytest.approx(expected, abs=2 / SIZE)


def test_what_moved_least_is_removed(make_model, regression_data):
    model = make_model()
    snapshots = SnapshotsBefore()
    callback = DissipatingGradients(0.6, epochs=1, interval=None, distribution="global")
    fit(model, regression_data, [snapshots, callback], epochs=1)
    masks = get_masks(model)
    moved = {p: np.abs(snapshots.ends[0][p] - snapshots.initial[p]) for p in masks}
    kept = np.concatenate([moved[p][masks[p]] for p in masks])
    removed = np.concatenate([moved[p][~masks[p]] for p in masks])
    assert kept.min() >= removed.max()


@pytest.mark.parametrize("criterion", DISSIPATION)
def test_a_fraction_removes_what_stays_within_it(
    criterion, make_model, regression_data
):
    model = make_model(keras.optimizers.Adam(0.05))
    callback = DissipatingGradients(fraction=0.2, epochs=1, criterion=criterion)
    snapshots = SnapshotsBefore()
    fit(model, regression_data, [snapshots, callback], epochs=1)
    assert 0 < sparsity(model) < 1
    if criterion == "relative":
        for path, mask in get_masks(model).items():
            initial = snapshots.initial[path]
            moved = np.abs(snapshots.ends[0][path] - initial) / np.abs(initial)
            assert (mask == (moved > np.float32(0.2))).all()


def test_weights_of_inputs_that_never_fire_go_first(make_model, regression_data):
    x, y = regression_data
    x = x.copy()
    x[:, :3] = 0
    model = make_model()
    fit(model, (x, y), [DissipatingGradients(0.3, epochs=1)])
    assert not get_masks(model)["hidden_1/kernel"][:3].any()


def test_weight_decay_is_no_movement(make_model, regression_data):
    x, y = regression_data
    x = x.copy()
    x[:, :3] = 0
    model = make_model(keras.optimizers.AdamW(0.01, weight_decay=0.5))
    callback = DissipatingGradients(0.3, epochs=3, criterion="movement")
    fit(model, (x, y), [callback])
    assert not get_masks(model)["hidden_1/kernel"][:3].any()


def test_weight_decay_is_followed_also_when_gradients_accumulate(
    make_model, regression_data
):
    optimizer = keras.optimizers.AdamW(
        0.01, weight_decay=0.5, gradient_accumulation_steps=2
    )
    x, y = regression_data
    x = x.copy()
    x[:, 0] = 0
    model = make_model(optimizer)
    weights = prunable_weights(install_masks(model))
    recorder = GradientRecorder(model, weights, gradients=False)
    initial = kernels(model)["hidden_1/kernel"][0]
    recorder.start()
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    expected = recorder.decayed("hidden_1/kernel", initial)
    recorder.stop()
    assert np.allclose(kernels(model)["hidden_1/kernel"][0], expected, rtol=1e-5)
    assert not np.allclose(initial, expected, rtol=1e-2)


def test_gradients_are_summed_over_steps(make_model, regression_data):
    import tensorflow as tf

    x, y = regression_data
    model = make_model(keras.optimizers.SGD(0.0))
    weights = prunable_weights(install_masks(model))
    recorder = GradientRecorder(model, weights)
    recorder.start()
    model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    totals = recorder.totals()
    recorder.stop()
    expected = np.zeros((12, 16))
    for begin in range(0, 64, 16):
        with tf.GradientTape() as tape:
            error = model(x[begin : begin + 16]) - y[begin : begin + 16]
            loss = tf.reduce_mean(tf.square(error))
        kernel = weights["hidden_1/kernel"].variable.value
        expected += 2 * np.abs(tape.gradient(loss, kernel))
    assert np.allclose(totals["hidden_1/kernel"], expected, rtol=1e-4, atol=1e-6)


def test_gradients_of_scaled_losses_are_unscaled(make_model, regression_data):
    totals = []
    for scale in (None, 1024.0):
        model = make_model(keras.optimizers.SGD(0.0, loss_scale_factor=scale))
        recorder = GradientRecorder(model, prunable_weights(model))
        recorder.start()
        model.fit(*regression_data, shuffle=False, verbose=0)
        totals.append(recorder.totals()["hidden_1/kernel"])
        recorder.stop()
    assert np.allclose(*totals, rtol=1e-4)


def test_gradients_of_embeddings_are_summed_over_repeated_indices():
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), keras.layers.Embedding(6, 3)]
    )
    model.compile(keras.optimizers.SGD(0.0), "mae", jit_compile=False)
    recorder = GradientRecorder(model, prunable_weights(model, Layers(embeddings=True)))
    recorder.start()
    # Index 1 occurs three times and index 2 once, each pulled towards -1 alike.
    model.fit(np.array([[1, 1, 1, 2]]), -np.ones((1, 4, 3)), verbose=0)
    total = next(iter(recorder.totals().values()))
    recorder.stop()
    assert np.allclose(total[1], 3 * total[2])
    assert (total[2] > 0).all()
    assert (total[3:] == 0).all()


def test_the_combination_runs_one_after_the_other(make_model, regression_data):
    model = make_model()
    callbacks = [
        KStarts(4, 0.5, epochs=2, seed=0),
        DissipatingGradients(0.875, epochs=2),
    ]
    history = fit(model, regression_data, callbacks, epochs=5)
    expected = [0, 0.5, 0.75, 0.875, 0.875]
    assert history["sparsity"] == pytest.approx(expected, abs=2 / SIZE)


def test_dissipating_after_k_starts_chooses_among_survivors(
    make_model, regression_data
):
    class Masks(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.seen = []

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(get_masks(self.model))

    masks = Masks()
    callbacks = [
        KStarts(4, 0.5, epochs=1, seed=0),
        DissipatingGradients(0.9, epochs=3, distribution="uniform"),
        masks,
    ]
    fit(make_model(), regression_data, callbacks, epochs=4)
    for earlier, later in zip(masks.seen, masks.seen[1:], strict=False):
        for path in earlier:
            assert not (later[path] & ~earlier[path]).any()


def test_movement_counts_from_the_first_epoch_in_a_combination(
    make_model, regression_data
):
    model = make_model()
    snapshots = SnapshotsBefore()
    callbacks = [
        snapshots,
        KStarts(4, 0.5, epochs=1, seed=0),
        DissipatingGradients(0.75, epochs=1, distribution="global"),
    ]
    fit(model, regression_data, callbacks, epochs=2)
    masks = get_masks(model)
    alive = {path: value != 0 for path, value in snapshots.ends[1].items()}
    moved = {p: np.abs(snapshots.ends[1][p] - snapshots.initial[p]) for p in masks}
    kept = np.concatenate([moved[p][masks[p]] for p in masks])
    removed = np.concatenate([moved[p][alive[p] & ~masks[p]] for p in masks])
    assert kept.min() >= removed.max()


def test_random_pruning_composes_with_dissipating(make_model, regression_data):
    model = make_model()
    callbacks = [RandomPruning(0.5, seed=0), DissipatingGradients(0.75, epochs=1)]
    history = fit(model, regression_data, callbacks, epochs=2)
    assert history["sparsity"] == pytest.approx([0.75, 0.75], abs=2 / SIZE)


def test_verbose_prints_a_line_per_epoch(make_model, regression_data, capsys):
    callbacks = [
        KStarts(4, 0.5, epochs=2, verbose=1),
        DissipatingGradients(0.75, epochs=1, verbose=1),
    ]
    fit(make_model(), regression_data, callbacks, epochs=4)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        "Epoch 1: KStarts gathers fitness (1 of 2 epochs)",
        "Epoch 2: KStarts removed 172 weights and kept 172 of 344 (sparsity 0.5000)",
        "Epoch 3: DissipatingGradients removed 86 weights and kept 86 of 344 "
        "(sparsity 0.7500)",
    ]


@pytest.mark.parametrize(
    "execution", [{}, {"run_eagerly": True}, {"jit_compile": False}]
)
def test_ways_of_execution_agree_on_the_masks(execution, make_model, regression_data):
    def masks(**arguments):
        model = make_model(**arguments)
        callbacks = [
            KStarts(3, 0.5, epochs=1, seed=0),
            DissipatingGradients(0.8, epochs=1),
        ]
        fit(model, regression_data, callbacks, epochs=2, shuffle=False)
        return get_masks(model)

    reference, other = masks(jit_compile=True), masks(**execution)
    agreement = [(reference[path] == other[path]).mean() for path in reference]
    assert min(agreement) > 0.97


def test_chosen_layers_only(make_model, regression_data):
    model = make_model()
    layers = Layers(re.compile("hidden"), skip_output=True)
    callback = KStarts(3, 0.75, 1, layers=layers)
    history = fit(model, regression_data, [callback])
    assert list(get_masks(model)) == ["hidden_1/kernel", "hidden_2/kernel"]
    assert history["sparsity"][-1] == pytest.approx(0.75)


def test_installed_masks_say_what_is_pruned(make_model, regression_data):
    model = install_masks(make_model(), Layers(skip_output=True))
    fit(model, regression_data, [RandomPruning(0.5)])
    assert (kernels(model)["output/kernel"] != 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KStarts(k=0), "`k` must be an integer of at least 1. Received: k=0"),
        (
            lambda: KStarts(0.95),
            "`k` must be an integer of at least 1, the number of random masks; a "
            r"sparsity is given by name: KStarts\(sparsity=0.95\). Received: k=0.95",
        ),
        (lambda: KStarts(sparsity=1.0), "`sparsity` is the fraction"),
        (lambda: KStarts(epochs=0), "`epochs` must be an integer of at least 1"),
        (lambda: KStarts(fitness="size"), "one of 'combined', 'gradient', 'magnitude'"),
        (lambda: KStarts(selection="row"), "one of 'layer', 'network', 'recombine'"),
        (lambda: KStarts(distribution="even"), "one of 'erk', 'global', 'uniform'"),
        (lambda: KStarts(selection="unit", distribution="global"), "ranks weights"),
        (lambda: KStarts(seed=-1), "`seed` must be None or"),
        (lambda: KStarts(verbose=2), "`verbose` must be 0 or 1"),
        (lambda: DissipatingGradients(), "Exactly one of `sparsity` and `fraction`"),
        (lambda: DissipatingGradients(0.5, 0.5), "Exactly one of"),
        (lambda: DissipatingGradients(-0.1), "`sparsity` is the fraction"),
        (lambda: DissipatingGradients(fraction=1.5), r"`fraction` .* \(0, 1\]"),
        (lambda: DissipatingGradients(0.5, criterion="m"), "'gradient', 'movement'"),
        (lambda: DissipatingGradients(0.5, epochs=1.5), "share of the epochs of"),
        (
            lambda: DissipatingGradients(fraction=0.5, distribution="erk"),
            "every weight is judged by itself",
        ),
        (lambda: RandomPruning(0.5, distribution="global"), "ranks all weights"),
        (lambda: RandomPruning("0.5"), "`sparsity` is the fraction"),
    ],
)
def test_bad_arguments_are_refused_by_the_constructor(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("callbacks", "epochs", "message"),
    [
        ([KStarts(2, 0.5, epochs=3)], 2, "`epochs` of KStarts .* after epoch 3"),
        (
            [KStarts(2, 0.5, epochs=2), DissipatingGradients(0.9, epochs=2)],
            3,
            "`epochs` of DissipatingGradients .* after epoch 4",
        ),
        ([RandomPruning(0.5), KStarts(2, 0.7, epochs=1)], 2, "must come first"),
        (
            [DissipatingGradients(0.5, epochs=1), KStarts(2, 0.7, epochs=1)],
            2,
            "must come first",
        ),
        (
            [KStarts(2, 0.9, epochs=1), DissipatingGradients(0.5, epochs=1)],
            2,
            "`sparsity` must not lie below that of the model",
        ),
        ([RandomPruning(0.995)], 1, "would be removed, and nothing would pass"),
        ([RandomPruning(0.5, layers="nothing")], 1, "`layers` must match"),
        (
            [RandomPruning(0.5, distribution={"a": 0.1})],
            1,
            "`distribution` must name prunable weights",
        ),
    ],
)
def test_bad_requests_are_refused_when_training_starts(
    callbacks, epochs, message, make_model, regression_data
):
    with pytest.raises(ValueError, match=message):
        fit(make_model(), regression_data, callbacks, epochs=epochs)


def test_epochs_count_from_the_initial_epoch(make_model, regression_data):
    with pytest.raises(ValueError, match=r"has 1\. Received: epochs=2"):
        fit(
            make_model(),
            regression_data,
            [KStarts(2, 0.5, epochs=2)],
            epochs=3,
            initial_epoch=2,
        )


def test_a_network_cut_in_two_is_an_error(regression_data):
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(64), keras.layers.Dense(3)]
    )
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="no path from the inputs"):
        # Three of 768 and one of 192 weights hardly ever meet.
        fit(model, regression_data, [RandomPruning(0.996, "uniform", seed=0)])


def test_training_that_ends_early_warns(make_model, regression_data):
    class StopAtOnce(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    with pytest.warns(
        UserWarning, match="ended after epoch 1, before KStarts was done"
    ):
        fit(make_model(), regression_data, [KStarts(2, 0.5, epochs=2), StopAtOnce()])


def test_an_interrupted_fit_leaves_nothing_behind(make_model, regression_data):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, regression_data, [KStarts(2, 0.5, epochs=2), Interrupt()])
    fit(model, regression_data, [KStarts(2, 0.5, epochs=2)])
    assert "apply" not in vars(model.optimizer)
    assert sparsity(model) == pytest.approx(0.5)


def test_a_compiled_constraint_less_function_is_replaced(make_model, regression_data):
    model = make_model()
    fit(model, regression_data, [])
    fit(model, regression_data, [DissipatingGradients(0.5, epochs=1)])
    assert sparsity(model) == pytest.approx(0.5)


def test_models_of_unknown_inputs_are_pruned_with_a_warning(regression_data):
    class TwoArguments(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = keras.layers.Dense(8), keras.layers.Dense(3)

        def call(self, inputs, scale):
            return self.second(self.first(inputs)) * scale

        def train_step(self, data):
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self(x, tf.ones(())) - y))
            variables = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            return {"loss": loss}

    model = TwoArguments()
    model(regression_data[0], np.float32(1.0))
    model.compile("adam", jit_compile=False)
    with pytest.warns(UserWarning, match="Whether a path .* is not checked"):
        fit(model, regression_data, [KStarts(4, 0.5, epochs=1)])
    assert sparsity(model) == pytest.approx(0.5)


def test_models_that_are_not_built_are_refused(regression_data):
    model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(3)])
    model.compile("adam", "mse", jit_compile=False)
    with pytest.raises(ValueError, match=r"not built yet\. Call it on a batch"):
        model.fit(*regression_data, verbose=0, callbacks=[KStarts(4, 0.5, epochs=1)])


# What callbacks are given

offered = pytest.mark.parametrize("kind", OFFERED.values(), ids=OFFERED)
NONSENSE = [float("nan"), float("inf"), -1, "nope", None, 2**63]
# What is a value like any other: a layer's name, a default, a share, an identifier.
VALID = {
    "layers": ["nope", None],
    "seed": [None],
    "distribution": [],
    "interval": [],
    "criterion": [None],
    "pattern": [None],
}
ALSO_NONE = {
    "DissipatingGradients": ["interval", "distribution", "fraction"],
    "GraNet": ["interval"],
    "GradualMagnitude": ["interval"],
    "Combination": ["interval"],
    "SET": ["interval"],
}


@offered
def test_every_argument_of_every_callback_is_checked(kind):
    for argument in inspect.signature(kind).parameters:
        for value in NONSENSE:
            if value in VALID.get(argument, []):
                continue
            if value is None and argument in ALSO_NONE.get(kind.__name__, []):
                continue
            arguments = {"sparsity": 0.5, argument: value}
            with pytest.raises((ValueError, TypeError), match="Received: "):
                kind(**arguments)


@offered
def test_a_callback_shows_the_call_that_makes_it(kind):
    callback = kind(sparsity=0.5)
    copies = [
        type(callback).from_config(callback.get_config()),
        eval(repr(callback), dict(OFFERED)),
    ]
    for copy in copies:
        assert copy.get_config() == callback.get_config()
    assert json.loads(json.dumps(callback.get_config())) == callback.get_config()


def test_a_threshold_is_configured_too():
    callback = DissipatingGradients(fraction=0.2, epochs=2)
    copy = DissipatingGradients.from_config(callback.get_config())
    assert repr(copy) == repr(callback)


def smallest(weights, initial, gradients):
    return {path: -np.abs(weight) for path, weight in weights.items()}


@pytest.mark.slow
def test_functions_score_as_names_do(make_model, regression_data):
    def masks(callback):
        model = make_model(run_eagerly=True)
        fit(model, regression_data, [callback], epochs=1, shuffle=False)
        return [mask.tolist() for mask in get_masks(model).values()]

    for name, function in FITNESS.items():
        given = [KStarts(3, 0.5, 1, fitness, seed=0) for fitness in (name, function)]
        assert masks(given[0]) == masks(given[1])
    for name, function in DISSIPATION.items():
        given = [DissipatingGradients(0.5, None, 1, c) for c in (name, function)]
        assert masks(given[0]) == masks(given[1])


def test_a_function_of_ones_own_scores(make_model, regression_data):
    model = make_model()
    before = SnapshotsBefore()
    callback = DissipatingGradients(
        0.5, epochs=1, criterion=smallest, interval=None, distribution="uniform"
    )
    assert "criterion=smallest" in repr(callback)
    fit(model, regression_data, [before, callback], epochs=1)
    for path, mask in get_masks(model).items():
        size = np.abs(before.ends[0][path])
        assert size[mask].max() <= size[~mask].min()


def test_a_function_must_score_every_weight(make_model, regression_data):
    def row_sums(weight, gradient):
        return np.abs(weight).sum(axis=1)

    with pytest.raises(ValueError, match=r"`fitness` must return one score per weight"):
        fit(make_model(), regression_data, [KStarts(2, 0.5, 1, row_sums)], epochs=1)


def test_equal_scores_are_nothing_to_choose_by(make_model, regression_data):
    model = make_model(keras.optimizers.SGD(0.0), run_eagerly=True)
    with pytest.warns(UserWarning, match="are all equal, so `criterion` has nothing"):
        fit(model, regression_data, [DissipatingGradients(0.5, epochs=1)], epochs=1)


# Models that train in another way


class OwnOptimizers(keras.Model):
    """Trains with an optimizer of its own, as networks that play against others do."""

    def __init__(self):
        super().__init__()
        self.hidden, self.top = keras.layers.Dense(8), keras.layers.Dense(3)
        self.own = keras.optimizers.SGD(0.01)

    def call(self, inputs):
        return self.top(self.hidden(inputs))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x) - y))
        self.own.apply(
            tape.gradient(loss, self.trainable_variables), self.trainable_variables
        )
        return {"loss": loss}


GRADIENTS_NEEDED = {
    "dissipating": lambda: DissipatingGradients(0.5, epochs=1, criterion="gradient"),
    "k_starts": lambda: KStarts(2, 0.5, 1, "gradient"),
    "combined": lambda: KStarts(2, 0.5, 1, "combined"),
    "rigl": lambda: RigL(0.5, 1, interval=1),
}


@pytest.mark.parametrize("make", GRADIENTS_NEEDED.values(), ids=GRADIENTS_NEEDED)
def test_gradients_that_are_not_seen_are_an_error(make, regression_data):
    model = OwnOptimizers()
    model(regression_data[0])
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=r"No gradient of 'dense.*/kernel' was seen"):
        fit(model, regression_data, [make()], epochs=1)


def test_where_no_gradient_is_needed_any_optimizer_will_do(regression_data):
    model = OwnOptimizers()
    model(regression_data[0])
    model.compile("adam", jit_compile=False)
    fit(model, regression_data, [DissipatingGradients(0.5, epochs=1)], epochs=1)
    assert sparsity(model) == pytest.approx(0.5)


@offered
def test_a_model_must_be_compiled(kind, make_model):
    callback = kind(sparsity=0.5)
    with pytest.raises(ValueError, match=r"must be compiled before .* can prune"):
        keras.callbacks.CallbackList([callback], model=make_model(compiled=False))


def test_a_loop_of_ones_own_prunes_too(make_model, regression_data):
    x, y = regression_data
    model = make_model(run_eagerly=True)
    steps = keras.callbacks.CallbackList(
        [DissipatingGradients(0.8, epochs=2)], model=model, epochs=2, steps=4
    )
    steps.on_train_begin()
    for epoch in range(2):
        steps.on_epoch_begin(epoch)
        for batch in range(4):
            steps.on_train_batch_begin(batch)
            part = slice(16 * batch, 16 * batch + 16)
            model.train_on_batch(x[part], y[part])
            steps.on_train_batch_end(batch)
        steps.on_epoch_end(epoch, {})
    steps.on_train_end()
    assert sparsity(model) == pytest.approx(0.8, abs=1 / SIZE)


# Checkpoints of the best epoch


class Worse(keras.callbacks.Callback):
    """Makes every epoch worse than the one before, as pruning does."""

    def on_epoch_end(self, epoch, logs=None):
        logs["worse"] = float(epoch)


@pytest.mark.parametrize(
    ("weights_only", "ours_first"),
    cells(
        itertools.product([True, False], repeat=2),
        by_default=[(True, True), (False, False)],
    ),
)
def test_the_best_epoch_is_one_with_the_final_masks(
    weights_only, ours_first, make_model, regression_data, tmp_path
):
    path = tmp_path / ("best.weights.h5" if weights_only else "best.keras")
    checkpoint = keras.callbacks.ModelCheckpoint(
        path, "worse", mode="min", save_best_only=True, save_weights_only=weights_only
    )
    pruning = [KStarts(4, 0.5, 1, seed=0), DissipatingGradients(0.8, epochs=1)]
    theirs = [Worse(), checkpoint]
    callbacks = [*pruning, *theirs] if ours_first else [*theirs, *pruning]
    model = make_model()
    fit(model, regression_data, callbacks, epochs=4)
    assert checkpoint.best == 2.0
    if weights_only:
        best = install_masks(make_model(compiled=False))
        best.load_weights(path)
    else:
        best = keras.saving.load_model(path)
    assert sparsity(best) == sparsity(model) == pytest.approx(0.8, abs=1 / SIZE)


def test_a_best_epoch_within_a_phase_that_removes_nothing_stays(
    make_model, regression_data, tmp_path
):
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", "worse", mode="min", save_best_only=True
    )
    callbacks = [SET(0.8, epochs=2, seed=0), Worse(), checkpoint]
    make_model().fit(*regression_data, epochs=4, verbose=0, callbacks=callbacks)
    assert checkpoint.best == 0.0


def test_no_epoch_with_the_final_masks_is_a_warning(
    make_model, regression_data, tmp_path
):
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", "worse", mode="min", save_best_only=True
    )
    callbacks = [DissipatingGradients(0.8, epochs=2), Worse(), checkpoint]
    with pytest.warns(UserWarning, match=r"best\.keras' holds a model from before"):
        fit(make_model(), regression_data, callbacks, epochs=2)


@pytest.mark.parametrize(
    "make", [Combination, DissipatingGradients, GradualMagnitude, GraNet]
)
@pytest.mark.parametrize(
    ("epochs", "phase"), cells([(1, 1), (3, 1), (4, 2)], by_default=[(1, 1), (4, 2)])
)
def test_masks_change_in_the_first_half_of_any_fit(
    make, epochs, phase, make_model, regression_data
):
    model = make_model(run_eagerly=True)
    history = model.fit(
        *regression_data, epochs=epochs, verbose=0, callbacks=[make(0.8)]
    )
    reached = [value > 0.8 - 1 / SIZE for value in history.history["sparsity"]]
    assert reached == [epoch >= phase for epoch in range(1, epochs + 1)]


def test_a_share_of_epochs_needs_their_number(make_model):
    steps = keras.callbacks.CallbackList(
        [GradualMagnitude(0.8)], model=make_model(run_eagerly=True)
    )
    with pytest.raises(ValueError, match=r"`epochs` as a share.*Received: epochs=0\.5"):
        steps.on_train_begin()
