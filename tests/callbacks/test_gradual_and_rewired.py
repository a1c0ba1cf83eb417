"""Gradual magnitude, one-shot magnitude, GraNet, RigL and SET."""

import itertools
import math
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from matrix import cells

from keras_initprune import (
    SET,
    DissipatingGradients,
    GradualMagnitude,
    GraNet,
    KStarts,
    Layers,
    OneShotMagnitude,
    RandomPruning,
    RigL,
    get_masks,
    remove_masks,
)
from keras_initprune.arrays.curves import (
    cosine_fraction,
    cubic_sparsity,
    geometric_sparsity,
)
from keras_initprune.arrays.distributions import allocate
from keras_initprune.arrays.drop_and_grow import drop_and_grow
from keras_initprune.arrays.masks import top_k_mask
from keras_initprune.constraints.weights import prunable_weights

SIZE = 12 * 16 + 16 * 8 + 8 * 3
SHAPES = {
    "hidden_1/kernel": (12, 16),
    "hidden_2/kernel": (16, 8),
    "output/kernel": (8, 3),
}
STEPS = 4  # An epoch of 64 examples in batches of 16.


class Watch(keras.callbacks.Callback):
    """Keeps masks, weights and slots as every step finds them."""

    def on_train_begin(self, logs=None):
        self.masks, self.weights, self.slots = [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.masks.append(get_masks(self.model))
        weights = prunable_weights(self.model)
        self.weights.append({path: w.numpy() for path, w in weights.items()})
        kernels = {w.variable.path.replace("/", "_"): p for p, w in weights.items()}
        self.slots.append([])
        for slot in self.model.optimizer.variables:
            for name, path in kernels.items():
                if slot.path.split("/")[-1].startswith(name):
                    self.slots[-1].append((path, slot.numpy()))


def fit(model, data, callbacks, epochs=2, **arguments):
    return model.fit(
        *data,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
        **arguments,
    ).history


def counts(masks):
    return {path: int(mask.sum()) for path, mask in masks.items()}


# Drop and grow


def test_the_smallest_go_and_the_highest_scores_come():
    weights = np.array([0.5, -0.1, 2.0, -1.0, 0.0, 0.0, 0.0])
    mask = np.array([1, 1, 1, 1, 0, 0, 0], bool)
    growth = np.array([9.0, 0.0, 9.0, 9.0, 3.0, 1.0, 2.0])
    # Of the kept, -0.1 goes and then 0.5; of the others, scores 3 and 2 come. But 0.5
    # has the score 9, so it wins its place back when it is dropped.
    assert drop_and_grow(weights, growth, mask, 1).tolist() == [1, 0, 1, 1, 1, 0, 0]
    assert drop_and_grow(weights, growth, mask, 2).tolist() == [1, 0, 1, 1, 1, 0, 0]
    assert drop_and_grow(weights, growth, mask, 0).tolist() == mask.tolist()


def test_a_dense_tensor_stays_dense(rng):
    weights, mask = rng.normal(size=(5, 4)), np.ones((5, 4), bool)
    assert drop_and_grow(weights, rng.random((5, 4)), mask, 7).all()


# Gradual magnitude


def test_gradual_sparsity_follows_the_cubic_by_epoch(make_model, regression_data):
    model = make_model(run_eagerly=True)
    history = fit(model, regression_data, [GradualMagnitude(0.8, 4)], epochs=5)
    # 0.8 * (1 - (1 - t) ** 3) at t = 1/4, 2/4, 3/4 and 1.
    expected = [0.4625, 0.7, 0.7875, 0.8, 0.8]
    assert history["sparsity"] == pytest.approx(expected, abs=0.5 / SIZE)


def test_gradual_sparsity_follows_the_cubic_by_steps(make_model, regression_data):
    watch = Watch()
    callback = GradualMagnitude(0.8, epochs=2, interval=3, distribution="global")
    model = make_model(run_eagerly=True)
    history = fit(model, regression_data, [callback, watch], epochs=3)
    expected = [0, 0, 0, 3 / 8, 3 / 8, 3 / 8, 6 / 8, 6 / 8, 1, 1, 1, 1]
    for masks, progress in zip(watch.masks, expected, strict=True):
        kept = round((1 - cubic_sparsity(0, 0.8, progress)) * SIZE)
        assert sum(counts(masks).values()) == kept
    assert history["sparsity"][1:] == pytest.approx([0.8, 0.8], abs=0.5 / SIZE)


@pytest.mark.parametrize(
    ("make", "curve"),
    [(GradualMagnitude, cubic_sparsity), (DissipatingGradients, geometric_sparsity)],
)
def test_by_default_weights_go_ten_times_an_epoch(
    make, curve, make_model, regression_data
):
    watch = Watch()
    callback = make(0.8, epochs=2, distribution="global")
    model = make_model()
    history = model.fit(
        *regression_data,
        batch_size=2,
        epochs=3,
        verbose=0,
        callbacks=[callback, watch],
    ).history
    steps = len(watch.masks) // 3
    kept = [sum(counts(masks).values()) for masks in watch.masks[: 2 * steps + 1]]
    changed = [i for i in range(1, 2 * steps + 1) if kept[i] < kept[i - 1]]
    # The cubic is so flat at its end that this small network has nothing to give.
    due = [math.ceil(tenth * steps / 10) for tenth in range(1, 21)]
    assert set(changed) <= set(due)
    assert len(changed) >= 18
    for step in changed:
        sparsity = curve(0.0, 0.8, step / (2 * steps))
        assert kept[step] == round((1 - sparsity) * SIZE)
    # The last one of an epoch happens at its end, before it is logged.
    ends = [1 - kept[steps] / SIZE, 1 - kept[2 * steps] / SIZE]
    assert history["sparsity"][:2] == pytest.approx(ends)


@pytest.mark.parametrize("interval", [None, 2])
def test_the_smallest_survivors_go_and_never_return(
    interval, make_model, regression_data
):
    watch = Watch()
    callback = GradualMagnitude(0.8, 2, interval, "global")
    model = make_model(run_eagerly=True)
    fit(model, regression_data, [callback, watch], epochs=3)
    for before, after in itertools.pairwise(watch.masks):
        assert not any((after[path] & ~before[path]).any() for path in before)
    kept = np.concatenate([abs(w[w != 0]) for w in watch.weights[-1].values()])
    assert len(kept) == round(0.2 * SIZE)


def test_a_dictionary_gives_tensors_their_own_curve(make_model, regression_data):
    watch = Watch()
    callback = GradualMagnitude(0.5, epochs=2, distribution={"output/kernel": 0.0})
    fit(make_model(run_eagerly=True), regression_data, [callback, watch], epochs=3)
    # Half-way 0.5 * (1 - 1/8) of the others are gone.
    half = {"hidden_1/kernel": 108, "hidden_2/kernel": 72, "output/kernel": 24}
    assert counts(watch.masks[STEPS]) == half
    assert list(counts(watch.masks[-1]).values()) == [96, 64, 24]


def test_one_shot_keeps_the_largest_after_its_epochs(make_model, regression_data):
    watch = Watch()
    callback = OneShotMagnitude(0.75, epochs=1, distribution="uniform")
    model = make_model(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = fit(model, regression_data, [callback, watch])
    assert history["sparsity"] == [0.75, 0.75]
    for path, mask in watch.masks[STEPS].items():
        dense = abs(watch.weights[0][path])
        assert dense[mask].min() >= dense[~mask].max()


# GraNet


@pytest.mark.parametrize("interval", [None, 2])
def test_granet_is_gradual_magnitude_that_regrows(
    interval, make_model, regression_data
):
    watches = Watch(), Watch()
    for kind, watch in zip((GradualMagnitude, GraNet), watches, strict=True):
        fit(
            make_model(run_eagerly=True),
            regression_data,
            [kind(0.8, epochs=3, interval=interval), watch],
            epochs=4,
        )
    gradual, granet = (watch.masks for watch in watches)
    # As many weights at every step, but others, some of which had been removed.
    assert [counts(masks) for masks in granet] == [counts(masks) for masks in gradual]
    returned = [
        (after[path] & ~before[path]).any()
        for before, after in itertools.pairwise(granet)
        for path in before
    ]
    assert any(returned)
    # The last change regrows nothing.
    before, after = granet[3 * STEPS - 1], granet[-1]
    assert not any((after[path] & ~before[path]).any() for path in before)


def test_granet_replaces_the_smallest_by_what_the_gradient_says(
    make_model, regression_data
):
    x, y = regression_data
    watch = Watch()
    model = make_model(keras.optimizers.SGD(0.0))
    callback = GraNet(0.7, epochs=1, interval=3, distribution="uniform")
    fit(model, regression_data, [callback, watch], epochs=2)
    # Weights do not move, so the gradient of the third batch can be taken afterwards.
    remove_masks(model)
    for path, weight in prunable_weights(model).items():
        weight.variable.assign(watch.weights[2][path])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x[32:48]) - y[32:48]))
    kernels = [weight.variable.value for weight in prunable_weights(model).values()]
    replaced = 0
    for path, gradient in zip(SHAPES, tape.gradient(loss, kernels), strict=True):
        weights, found = watch.weights[2][path], watch.masks[3][path]
        largest = top_k_mask(np.abs(weights), int(found.sum()))
        count = int(cosine_fraction(0.5, 3 / 4) * found.sum())
        expected = drop_and_grow(weights, np.abs(gradient), largest, count)
        assert (found == expected).all()
        replaced += int((found & ~largest).sum())
    assert replaced > 0


# RigL and SET

EVERY = {
    "rigl": lambda **arguments: RigL(0.8, interval=2, **arguments),
    "set": lambda **arguments: SET(0.8, interval=2, **arguments),
    "set_by_epoch": lambda **arguments: SET(0.8, **arguments),
}
every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


@every
def test_counts_never_change_and_what_grows_begins_at_zero(
    make, make_model, regression_data
):
    watch = Watch()
    model = make_model(run_eagerly=True)
    fit(model, regression_data, [make(epochs=3, seed=0), watch], epochs=4)
    grown = 0
    for before, after, weights, slots in zip(
        watch.masks, watch.masks[1:], watch.weights[1:], watch.slots[1:], strict=False
    ):
        assert counts(after) == allocate(SHAPES, 0.8, "erk")
        new = {path: after[path] & ~before[path] for path in after}
        grown += sum(counts(new).values())
        for path, values in [*weights.items(), *slots]:
            assert (values[new[path]] == 0).all()
        for path, values in weights.items():
            assert (values[~after[path]] == 0).all()
        # Momentum and velocity of three kernels, and what stays has some.
        assert len(slots) == 6
        assert all(values.any() for _, values in slots)
    assert grown > 10
    assert all((watch.masks[-1][p] == watch.masks[3 * STEPS][p]).all() for p in SHAPES)


def test_the_share_falls_along_a_cosine(make_model, regression_data):
    watch = Watch()
    callback = SET(0.5, epochs=4, fraction=0.4, distribution="uniform", seed=0)
    model = make_model(keras.optimizers.SGD(0.0), run_eagerly=True)
    fit(model, regression_data, [callback, watch], epochs=5)
    path = "hidden_1/kernel"
    for epoch in range(4):
        before, after = (
            watch.masks[epoch * STEPS][path],
            watch.masks[(epoch + 1) * STEPS],
        )
        dropped = int(cosine_fraction(0.4, epoch / 4) * 96)
        # What is drawn at once again does not count.
        assert 0 < (before & ~after[path]).sum() <= dropped


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.4, 0.3, 0.2, 0.1]),
        ("cubic", [0.4 * (1 - epoch / 4) ** 3 for epoch in range(4)]),
        (lambda fraction, progress: fraction / 2, [0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_the_share_that_is_rewired_follows_the_schedule(
    schedule, shares, make_model, regression_data
):
    seen = []

    class Counting(SET):
        def select(self, progress):
            before = self.masks()
            after = super().select(progress)
            path = "hidden_1/kernel"
            seen.append(int((before[path] & ~after.get(path, before[path])).sum()))
            return after

    model = make_model(keras.optimizers.SGD(0.0), run_eagerly=True)
    callback = Counting(
        0.5, epochs=4, fraction=0.4, distribution="uniform", seed=0, schedule=schedule
    )
    fit(model, regression_data, [callback], epochs=4)
    for dropped, share in zip(seen, shares, strict=True):
        # What is drawn at once again does not count.
        assert 0.6 * int(share * 96) <= dropped <= int(share * 96)


@pytest.mark.parametrize("method", [RigL, SET])
def test_other_schedules_are_refused(method, make_model, regression_data):
    with pytest.raises(ValueError, match=r"`schedule` must be one of .*'cosine'"):
        method(0.5, schedule="exponential")
    callback = method(
        0.5, epochs=1, interval=2, schedule=lambda fraction, progress: 2.0
    )
    with pytest.raises(ValueError, match=r"the result of `schedule`.*=2\.0"):
        fit(make_model(run_eagerly=True), regression_data, [callback], epochs=1)


def test_rigl_grows_where_the_dense_gradient_is_largest(make_model, regression_data):
    x, y = regression_data
    watch = Watch()
    model = make_model(keras.optimizers.SGD(0.0))
    callback = RigL(0.7, epochs=1, interval=3, fraction=0.5, seed=0)
    fit(model, regression_data, [callback, watch], epochs=2)
    before, after = watch.masks[2], watch.masks[3]
    # Weights do not move, so the gradient of the third batch can be taken afterwards.
    for path, weight in prunable_weights(model).items():
        weight.variable.assign(watch.weights[2][path])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x[32:48]) - y[32:48]))
    kernels = [weight.variable.value for weight in prunable_weights(model).values()]
    gradients = dict(zip(SHAPES, tape.gradient(loss, kernels), strict=True))
    share = cosine_fraction(0.5, 3 / 4)
    for path in SHAPES:
        count = int(share * before[path].sum())
        expected = drop_and_grow(
            watch.weights[2][path], abs(gradients[path].numpy()), before[path], count
        )
        assert (after[path] == expected).all()
    assert any((before[path] != after[path]).any() for path in SHAPES)


def test_a_step_that_loss_scaling_skips_is_not_grown_by(make_model, regression_data):
    x, y = regression_data

    def masks(optimizer):
        watch = Watch()
        callback = RigL(0.7, epochs=1, interval=1, fraction=0.5, seed=0)
        fit(make_model(optimizer), (x, 10 * y), [callback, watch])
        return [m["hidden_1/kernel"] for m in watch.masks]

    plain = masks(keras.optimizers.SGD(0.0))
    # 2 ** 127 times such gradients is infinite: the first step is skipped.
    scaled = masks(
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.0), initial_scale=2.0**127
        )
    )
    assert (scaled[0] == plain[0]).all()
    assert (plain[1] != plain[0]).any()
    assert (scaled[1] == scaled[0]).all()
    assert (scaled[2] != scaled[1]).any()


def test_several_steps_per_execution_change_when_keras_comes_back(
    make_model, regression_data
):
    watch = Watch()
    model = make_model(steps_per_execution=2)
    callback = RigL(0.7, epochs=2, interval=3, seed=0)
    fit(model, regression_data, [callback, watch], epochs=3)
    masks = [m["hidden_1/kernel"] for m in watch.masks]
    changed = [bool((a != b).any()) for a, b in itertools.pairwise(masks)]
    # Steps 0, 2, 4, 6, 8 and 10: the changes due after 3 and 6 come at 4 and 6.
    assert changed == [False, True, True, False, False]


@pytest.mark.parametrize("make", [EVERY["rigl"], EVERY["set_by_epoch"]])
def test_convolutions(make, rng):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.SeparableConv2D(6, 2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    model.compile("adam", "mse", run_eagerly=True)
    data = rng.random((64, 6, 6, 2), np.float32), rng.random((64, 3), np.float32)
    watch = Watch()
    fit(model, data, [make(epochs=2, seed=0), watch], epochs=3)
    shapes = {path: w.shape for path, w in prunable_weights(model).items()}
    for masks in watch.masks:
        assert counts(masks) == allocate(shapes, 0.8, "erk")
    first, last = watch.masks[0], watch.masks[-1]
    assert any((first[path] != last[path]).any() for path in shapes)


def test_embeddings_have_sparse_gradients():
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), keras.layers.Embedding(6, 5)]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    x, y = np.array([[1, 1, 1, 2]] * 4), np.ones((4, 4, 5))
    callback = RigL(
        0.5, 1, interval=1, fraction=1.0, seed=0, layers=Layers(embeddings=True)
    )
    model.fit(x, y, batch_size=1, epochs=2, verbose=0, callbacks=[callback])
    (table,) = get_masks(model).values()
    # Only two rows are ever looked up, so they are grown in full.
    assert table.sum() == 15
    assert table[[1, 2]].all()


def test_seeds(make_model, regression_data):
    def masks(callback):
        model = make_model(run_eagerly=True)
        fit(model, regression_data, [callback], epochs=1)
        return get_masks(model)

    def same(first, second):
        return all((first[path] == second[path]).all() for path in SHAPES)

    for make in (EVERY["rigl"], EVERY["set_by_epoch"]):
        assert same(masks(make(epochs=1, seed=1)), masks(make(epochs=1, seed=1)))
        assert not same(masks(make(epochs=1, seed=1)), masks(make(epochs=1, seed=2)))


# Phases


def test_the_sparse_start_keeps_what_others_chose(make_model, regression_data):
    watch = Watch()
    callbacks = [
        RandomPruning(0.75, "uniform", seed=3),
        RigL(0.75, epochs=1, interval=2, seed=0),
        watch,
    ]
    fit(make_model(run_eagerly=True), regression_data, callbacks)
    for masks in watch.masks:
        assert list(counts(masks).values()) == [48, 32, 6]


def test_phases_follow_each_other(make_model, regression_data):
    callbacks = [
        GradualMagnitude(0.5, epochs=1),
        SET(0.75, epochs=2, interval=2, seed=0),
        OneShotMagnitude(0.875, epochs=1),
    ]
    watch = Watch()
    model = make_model(run_eagerly=True)
    history = fit(model, regression_data, [*callbacks, watch], epochs=5)
    expected = [0.5, 0.75, 0.75, 0.875, 0.875]
    assert history["sparsity"] == pytest.approx(expected, abs=1 / SIZE)
    # SET begins with the first step of its own phase.
    assert sum(counts(watch.masks[STEPS]).values()) == SIZE // 4


def test_a_share_of_the_epochs_is_rounded_down(make_model, regression_data, capsys):
    callback = SET(0.8, verbose=1, seed=0)
    fit(make_model(run_eagerly=True), regression_data, [callback], epochs=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line.split(": ")[0] for line in lines[1:]] == ["Epoch 1", "Epoch 2"]
    assert lines[0].startswith("SET removed 275 weights and kept 69 of 344")
    assert "rewired 1 times, 17 weights" in lines[1] or "weights in all" in lines[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RigL(1.0), "`sparsity` is the fraction"),
        (lambda: RigL(0.5, epochs=1.5), r"share of the epochs .* epochs=1\.5"),
        (lambda: RigL(0.5, epochs=0), "`epochs` must be an integer"),
        (lambda: RigL(0.5, interval=None), "`interval` must be an integer"),
        (lambda: RigL(0.5, fraction=0.0), r"`fraction` must be a number in \(0, 1\]"),
        (lambda: RigL(0.5, distribution="global"), "ranks all weights"),
        (lambda: SET(0.5, interval=0), "`interval` must be an integer"),
        (lambda: SET(0.5, seed=-1), "`seed` must be None or"),
        (lambda: GradualMagnitude(0.5, epochs=1.5), "share of the epochs of"),
        (lambda: GradualMagnitude(0.5, interval="often"), "`interval` must be an int"),
        (
            lambda: DissipatingGradients(fraction=0.2, interval=5),
            r"`interval` says .* interval=5, fraction=0\.2",
        ),
        (lambda: GradualMagnitude(0.5, distribution="even"), "one of 'erk'"),
        (lambda: OneShotMagnitude(-0.5), "`sparsity` is the fraction"),
    ],
)
def test_bad_arguments_are_refused_by_the_constructor(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([SET(0.5, 3)], "`epochs` of SET .* after epoch 3"),
        ([RandomPruning(0.8), RigL(0.5, 1)], "must not lie below that of the model"),
        ([RandomPruning(0.8), GradualMagnitude(0.5, 1)], "must not lie below that"),
        ([RandomPruning(0.8), OneShotMagnitude(0.5, 1)], "must not lie below that"),
        ([SET(0.5, 1), KStarts(2, 0.8, 1)], "must come first"),
        ([RigL(0.995, 1)], "would be removed, and nothing would pass"),
    ],
)
def test_bad_requests_are_refused_when_training_starts(
    callbacks, message, make_model, regression_data
):
    with pytest.raises(ValueError, match=message):
        fit(make_model(run_eagerly=True), regression_data, callbacks)


def test_steps_cannot_be_counted_in_data_of_unknown_length(make_model, regression_data):
    data = tf.data.Dataset.from_tensor_slices(regression_data).batch(16)
    data = data.filter(lambda x, y: True)
    model = make_model(run_eagerly=True)
    with pytest.raises(ValueError, match=r"`interval` of RigL .* `steps_per_epoch`"):
        model.fit(data, verbose=0, shuffle=False, callbacks=[RigL(0.5, 1)])
    callback = SET(0.5, 1, seed=0)
    # Keras warns of data that tells no length.
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(data, verbose=0, shuffle=False, callbacks=[callback])
    assert sum(counts(get_masks(model)).values()) == SIZE // 2


def test_where_steps_cannot_be_counted_weights_go_when_epochs_end(
    make_model, regression_data
):
    data = tf.data.Dataset.from_tensor_slices(regression_data).batch(16)
    data = data.filter(lambda x, y: True)
    model, watch = make_model(run_eagerly=True), Watch()
    callbacks = [DissipatingGradients(0.5, epochs=1, distribution="global"), watch]
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(data, verbose=0, shuffle=False, callbacks=callbacks)
    assert {sum(counts(masks).values()) for masks in watch.masks} == {SIZE}
    assert sum(counts(get_masks(model)).values()) == SIZE // 2


@pytest.mark.parametrize("make", [EVERY["rigl"], EVERY["set_by_epoch"]])
def test_diverged_training_grows_nothing(make, make_model, regression_data):
    model = make_model(keras.optimizers.SGD(1e30), run_eagerly=True)
    with pytest.raises(FloatingPointError, match=r"became NaN or inf|loss became"):
        fit(model, regression_data, [make(epochs=1, seed=0)])
    assert counts(get_masks(model)) == allocate(SHAPES, 0.8, "erk")


class Stop(keras.callbacks.Callback):
    """Stands in for a killed process: leaves `fit` in the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 2):
            raise InterruptedError


RESUMED = {
    **EVERY,
    # A change is due between the epochs, by the gradient of the epoch before.
    "rigl_between_epochs": lambda **arguments: RigL(0.8, interval=STEPS, **arguments),
    "gradual": lambda epochs, seed: GradualMagnitude(0.8, epochs, interval=3),
    "gradual_by_tensor": lambda epochs, seed: GradualMagnitude(
        0.8, epochs, distribution={"output/kernel": 0.5}
    ),
}


@pytest.mark.parametrize("make", cells(RESUMED, by_default=["rigl", "gradual"]))
def test_a_killed_training_goes_on(make, make_model, regression_data, tmp_path):
    def train(seed, *callbacks):
        watch = Watch()
        model = make_model(run_eagerly=True)
        random.seed(seed)
        callbacks = [*callbacks, make(epochs=3, seed=None), watch]
        fit(model, regression_data, callbacks, epochs=3)
        return model, watch.masks

    expected, masks = train(1)
    with pytest.raises(InterruptedError):
        train(1, keras.callbacks.BackupAndRestore(tmp_path), Stop())
    # Without a seed of its own the new process must go on with the one drawn first.
    resumed, others = train(2, keras.callbacks.BackupAndRestore(tmp_path))
    assert len(others) == 2 * STEPS
    for first, second in zip(masks[STEPS:], others, strict=True):
        assert all((first[path] == second[path]).all() for path in SHAPES)
    for first, second in zip(expected.weights, resumed.weights, strict=True):
        assert np.array_equal(first, second)


SCRIPT = """
import keras, numpy as np, tensorflow as tf
from keras_initprune import SET, GradualMagnitude, RigL, get_masks

# Logical devices can only be made before TensorFlow starts, hence a process of its own.
processor = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(processor, halves)
x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")

def train(strategy):
    masks = []
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((12,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(3),
            ]
        )
        model.compile("adam", "mse", jit_compile=False)
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: masks.append(get_masks(model))
    )
    model.fit(
        x, x[:, :3], batch_size=16, epochs=6, verbose=0, shuffle=False,
        callbacks=[
            GradualMagnitude(0.3, epochs=1, interval=3, distribution="uniform"),
            RigL(0.5, epochs=3, interval=3, seed=0),
            SET(0.8, epochs=2, interval=3, seed=0),
            watch,
        ],
    )
    return model, [np.concatenate([m.ravel() for m in s.values()]) for s in masks]

_, one = train(tf.distribute.OneDeviceStrategy("CPU:0"))
model, two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
assert len({mask.tobytes() for mask in one}) >= 6
for first, second in zip(one, two, strict=True):
    assert (first == second).all()
for variable in (*model.weights, *model.optimizer.variables):
    replicas = [value.numpy() for value in variable.value.values]
    np.testing.assert_array_equal(*replicas)
"""


@pytest.mark.slow
def test_two_replicas_rewire_as_one_device_does():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
