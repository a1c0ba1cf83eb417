"""The combination: what dissipates goes, and K-starts says what starts again."""

import itertools

import keras
import numpy as np
import pytest

from keras_initprune import Combination, RandomPruning, get_masks
from keras_initprune.arrays.curves import power_sparsity
from keras_initprune.arrays.distributions import allocate
from keras_initprune.arrays.drop_and_grow import (
    agreement,
    dissipate_and_restart,
    random_union,
)
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.gradients import GradientRecorder

SHAPES = {
    "hidden_1/kernel": (12, 16),
    "hidden_2/kernel": (16, 8),
    "output/kernel": (8, 3),
}
SIZE = 12 * 16 + 16 * 8 + 8 * 3
STEPS = 4  # An epoch of 64 examples in batches of 16.


class Watch(keras.callbacks.Callback):
    """Keeps masks, weights and slots as every step finds them."""

    def on_train_begin(self, logs=None):
        self.masks, self.weights, self.slots, self.wrapped = [], [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        weights = prunable_weights(self.model)
        self.masks.append(get_masks(self.model))
        self.weights.append({path: w.numpy() for path, w in weights.items()})
        kernels = {w.variable.path.replace("/", "_"): p for p, w in weights.items()}
        self.slots.append([])
        for slot in self.model.optimizer.variables:
            for name, path in kernels.items():
                if slot.path.split("/")[-1].startswith(name):
                    self.slots[-1].append((path, slot.numpy()))
        self.wrapped.append("apply" in vars(self.model.optimizer))


def fit(model, data, callbacks, epochs=3):
    return model.fit(
        *data,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    ).history


def counts(masks):
    return {path: int(mask.sum()) for path, mask in masks.items()}


# One change


def test_what_moved_least_goes_and_the_fittest_of_the_dead_come():
    movement = np.array([3.0, 1.0, 2.0, 0.0, 0.0, 0.0])
    pull = np.array([9.0, 9.0, 9.0, 1.0, 3.0, 2.0])
    alive = np.array([1, 1, 1, 0, 0, 0], bool)
    survivors, restarted = dissipate_and_restart(
        movement, pull, alive, count=3, fresh=2, k=1000, key=0
    )
    assert survivors.tolist() == [1, 0, 0, 0, 0, 0]
    # Not the removed ones, whose fitness is highest.
    assert restarted.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("count", "fresh", "restarted"),
    [
        (3, 0, 0),
        (3, 3, 3),
        (5, 0, 1),  # Only four are alive, so one has to start again.
        (8, 7, 4),  # Only four are dead.
    ],
)
def test_counts_are_exact(count, fresh, restarted):
    scores, alive = np.zeros(8), np.arange(8) < 4
    kept, started = dissipate_and_restart(scores, scores, alive, count, fresh, 4, key=0)
    assert (kept.sum(), started.sum()) == (count - restarted, restarted)
    assert not (kept & ~alive).any()
    assert not (started & alive).any()


def test_one_start_is_random_and_many_follow_the_gradient():
    pull, alive = np.arange(1000.0), np.zeros(1000, bool)

    def mean(k):
        masks = [
            dissipate_and_restart(pull, pull, alive, 100, 100, k, key)[1]
            for key in range(20)
        ]
        return np.mean([pull[mask].mean() for mask in masks])

    assert mean(1) == pytest.approx(499.5, abs=30)
    assert mean(10**6) == np.mean(np.arange(900, 1000))
    assert mean(1) < mean(4) < mean(16) <= mean(10**6)


def test_a_union_is_as_large_as_that_of_k_masks_on_average(rng):
    sizes = []
    for _ in range(300):
        union = np.zeros(200, bool)
        for _ in range(4):
            union[rng.choice(200, 50, replace=False)] = True
        sizes.append(union.sum())
    assert random_union(200, 50, 4, key=0).sum() == pytest.approx(
        np.mean(sizes), abs=1.0
    )
    assert random_union(200, 50, 1, key=0).sum() == 50
    assert random_union(200, 200, 3, key=0).all()


def test_agreement_is_a_cosine_that_counts_entries():
    before = {"a": np.array([1.0, 0.0, 9.0]), "b": np.array([1e-9])}
    now = {"a": np.array([1.0, 0.0, -9.0]), "b": np.array([-1e3])}
    where = {"a": np.array([1, 1, 0], bool), "b": np.array([1], bool)}
    assert agreement(before, now, where) == pytest.approx((2 * 1.0 + 1 * -1.0) / 3)
    none = {"a": np.zeros(3, bool), "b": np.zeros(1, bool)}
    assert agreement(before, now, none) == 0.0
    assert agreement({"a": np.zeros(3)}, now, {"a": where["a"]}) == 0.0


# In training


@pytest.mark.parametrize(("curve", "power"), [(0.5, 0.5), ("auto", 1.0)])
def test_counts_follow_the_curve_and_end_exactly(
    curve, power, make_model, regression_data
):
    watch = Watch()
    callback = Combination(0.8, epochs=2, interval=2, curve=curve, seed=0)
    model = make_model(run_eagerly=True)
    history = fit(model, regression_data, [callback, watch])
    for step in (2, 4, 6):
        sparsity = power_sparsity(0.0, 0.8, step / 8, power)
        assert counts(watch.masks[step]) == allocate(SHAPES, sparsity, "erk")
    assert counts(get_masks(model)) == allocate(SHAPES, 0.8, "erk")
    assert history["sparsity"][1:] == pytest.approx([0.8, 0.8], abs=1 / SIZE)


def test_fresh_starts_begin_at_zero_with_fresh_slots(make_model, regression_data):
    watch = Watch()
    callback = Combination(0.8, epochs=3, interval=1, restarts=0.5, seed=0)
    model = make_model(run_eagerly=True)
    fit(model, regression_data, [callback, watch], epochs=4)
    restarted = 0
    for step in range(1, 3 * STEPS):
        before, after = watch.masks[step - 1], watch.masks[step]
        for path in SHAPES:
            fresh = after[path] & ~before[path]
            restarted += fresh.sum()
            assert (watch.weights[step][path][fresh] == 0).all()
            most = int(0.5 * (1 - step / (3 * STEPS)) * after[path].sum())
            assert fresh.sum() <= most
        for path, slot in watch.slots[step]:
            assert (slot[after[path] & ~before[path]] == 0).all()
    assert restarted > 10
    final = watch.masks[3 * STEPS]
    assert all((final[p] == get_masks(model)[p]).all() for p in SHAPES)
    # The last change restarts nothing.
    last = watch.masks[3 * STEPS - 1]
    assert not any((final[path] & ~last[path]).any() for path in SHAPES)


def test_old_weights_must_have_moved_further(make_model, regression_data):
    """With `age=0` fresh starts have moved too little to stay."""

    def survived(age):
        watch = Watch()
        callback = Combination(
            0.8, epochs=4, interval=2, age=age, start_sparsity=0.5, seed=0
        )
        model = make_model(run_eagerly=True)
        fit(model, regression_data, [callback, watch], epochs=5)
        return sum((m & ~watch.masks[0][p]).sum() for p, m in get_masks(model).items())

    assert survived(0.0) < survived(1.0)


def pulled(make_model, regression_data, targets, sparsity=0.75, **arguments):
    """Return how many weights of the output layer start again, by change and unit.

    Every batch is the same but for its targets, which are far away, and no weight moves
    by much: the gradient follows the targets.
    """
    watch = Watch()
    callback = Combination(
        sparsity,
        epochs=1,
        start_sparsity=sparsity,
        interval=1,
        layers="output",
        seed=0,
        **arguments,
    )
    make_model(keras.optimizers.SGD(1e-12), run_eagerly=True).fit(
        np.tile(regression_data[0][:16], (len(targets), 1)),
        np.repeat(targets, 16, axis=0),
        batch_size=16,
        shuffle=False,
        verbose=0,
        callbacks=[callback, watch],
    )
    masks = [masks["output/kernel"] for masks in watch.masks]
    return [(new & ~old).sum(axis=0) for old, new in itertools.pairwise(masks)]


@pytest.mark.parametrize(
    ("restarts", "sparsity", "steps", "lasting", "turning"),
    [
        ("auto", 1 / 3, 3300, 1.0, 0.3),
        ("auto", 1 / 3, 1200, 0.5, 0.3),
        ("auto", 1 / 3, 8, 0.3, 0.3),
        ("auto", 0.75, 3300, 0.5, 0.5),
        ("auto", 0.75, 8, 0.3, 0.3),
        (1.0, 0.75, 8, 1.0, 1.0),
        (0.3, 1 / 3, 8, 0.3, 0.3),
    ],
)
def test_many_start_again_where_the_pull_lasts_and_there_is_time(
    restarts,
    sparsity,
    steps,
    lasting,
    turning,
    make_model,
    regression_data,
    monkeypatch,
):
    """Unless the network has begun sparse, where many would leave little in place."""
    monkeypatch.setattr(Combination, "_steps", steps)
    lasts = np.full((8, 3), 1e6)
    turns = lasts * np.array([1, -1] * 4)[:, None]
    removed = round(24 * sparsity)
    for targets, share in ((lasts, lasting), (turns, turning)):
        fresh = pulled(
            make_model, regression_data, targets, sparsity, restarts=restarts
        )
        shares = [share * (1 - change / 8) for change in range(2, 8)]
        expected = [min(removed, int(each * (24 - removed))) for each in shares]
        assert [int(of.sum()) for of in fresh[1:]] == expected


def test_a_pull_is_remembered(make_model, regression_data):
    """What turns from one change to the next cancels, if it is remembered."""
    targets = np.zeros((4, 3))
    targets[:, 0] = [1e8, -1e8, 1e8, -1e8]
    targets[:, 1] = 1e6
    for memory, unit in ((0.0, 0), (1.0, 1)):
        fresh = pulled(
            make_model,
            regression_data,
            targets,
            restarts=0.5,
            k=10**6,
            memory=memory,
        )
        assert fresh[1][unit] == fresh[1].sum() > 0


def test_training_is_never_denser_than_its_start(make_model, regression_data):
    watch = Watch()
    callback = Combination(0.9, epochs=2, start_sparsity=0.75, interval=1, seed=0)
    history = fit(make_model(run_eagerly=True), regression_data, [callback, watch])
    assert counts(watch.masks[0]) == allocate(SHAPES, 0.75, "erk")
    assert max(sum(counts(masks).values()) for masks in watch.masks) == SIZE // 4
    # While density stays, masks change.
    assert any((watch.masks[1][p] != watch.masks[0][p]).any() for p in SHAPES)
    assert history["sparsity"][-1] == pytest.approx(0.9, abs=1 / SIZE)


def test_a_sparse_model_becomes_no_denser(make_model, regression_data):
    watch = Watch()
    callbacks = [RandomPruning(0.6, seed=0), Combination(0.8, epochs=2, seed=0), watch]
    fit(make_model(run_eagerly=True), regression_data, callbacks)
    kept = [sum(counts(masks).values()) for masks in watch.masks]
    assert kept[0] == round(0.4 * SIZE)
    assert kept == sorted(kept, reverse=True)


def test_a_dictionary_gives_tensors_their_own_sparsity(make_model, regression_data):
    model = make_model(run_eagerly=True)
    distribution = {"output/kernel": 0.0}
    callback = Combination(0.75, epochs=1, distribution=distribution, seed=0)
    fit(model, regression_data, [callback], epochs=2)
    assert list(counts(get_masks(model)).values()) == [48, 32, 24]


def test_gradients_are_summed_only_while_the_phase_runs(make_model, regression_data):
    watch = Watch()
    callbacks = [
        Combination(0.5, epochs=1, seed=0),
        Combination(0.8, epochs=1, seed=0),
    ]
    fit(make_model(run_eagerly=True), regression_data, [*callbacks, watch], epochs=3)
    assert watch.wrapped == [True] * 2 * STEPS + [False] * STEPS
    single = Watch()
    callbacks = [RandomPruning(0.5), Combination(0.8, epochs=1, seed=0), single]
    fit(make_model(run_eagerly=True), regression_data, callbacks, epochs=2)
    assert single.wrapped == [True] * STEPS + [False] * STEPS


def test_signed_sums_cancel(make_model, regression_data):
    totals = {}
    for magnitudes in (True, False):
        model = make_model(keras.optimizers.SGD(0.0))
        recorder = GradientRecorder(
            model, prunable_weights(model), magnitudes=magnitudes
        )
        recorder.start()
        x, y = regression_data
        error = model.predict(x, verbose=0)
        # The second half pulls as strongly as the first, the other way.
        both = np.concatenate([x, x]), np.concatenate([y, 2 * error - y])
        model.fit(*both, batch_size=64, shuffle=False, verbose=0)
        totals[magnitudes] = recorder.totals()["output/kernel"]
        recorder.reset()
        assert not recorder.totals()["output/kernel"].any()
        recorder.stop()
    assert np.abs(totals[False]).max() < 1e-3 * totals[True].max()


def test_verbose_says_how_many_started_again(make_model, regression_data, capsys):
    callback = Combination(0.8, epochs=1, verbose=1, seed=0)
    fit(make_model(run_eagerly=True), regression_data, [callback], epochs=1)
    assert "kept 69 of 344 (sparsity 0.7994), " in capsys.readouterr().out


def test_it_cannot_begin_sparser_than_it_ends():
    with pytest.raises(ValueError, match="`start_sparsity` must not exceed"):
        Combination(0.5, start_sparsity=0.9)


@pytest.mark.parametrize(("batch_size", "between"), [(1, 10), (16, STEPS)])
def test_fresh_starts_have_ten_steps_to_move_or_an_epoch(
    batch_size, between, make_model, regression_data
):
    model, watch = make_model(), Watch()
    model.fit(
        *regression_data,
        batch_size=batch_size,
        epochs=3,
        verbose=0,
        callbacks=[Combination(0.8, epochs=2, restarts=0.0), watch],
    )
    kept = [sum(counts(masks).values()) for masks in watch.masks]
    changes = np.flatnonzero(np.diff(kept))
    assert np.diff(changes).min() == between
