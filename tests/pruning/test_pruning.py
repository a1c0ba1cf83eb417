"""`prune`: every criterion, every option, and what must stay as it is."""

import keras
import numpy as np
import pytest

from keras_initprune import (
    Layers,
    criteria,
    get_masks,
    install_masks,
    prune,
    pruning_masks,
    report,
    score_weights,
    set_masks,
    sparsity,
)
from keras_initprune.arrays.distributions import allocate
from keras_initprune.arrays.masks import candidate_key, random_mask
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.lab.models import convnet

CRITERIA = list(criteria.CRITERIA)
ITERATIVE = [n for n in CRITERIA if criteria.get(n).looks_at_masks]
PATHS = ("hidden_1/kernel", "hidden_2/kernel", "output/kernel")
SHAPES = dict(zip(PATHS, [(12, 16), (16, 8), (8, 3)], strict=True))
SIZE = 344


def eager(model):
    """Have a model run eagerly: for a few batches that is faster than tracing."""
    model.compile("adam", "mse", run_eagerly=True)
    return model


@pytest.fixture
def model(make_model):
    return eager(make_model())


@pytest.fixture
def perceptron(make_model):
    return lambda: eager(make_model())


def kept(masks):
    return sum(int(mask.sum()) for mask in masks.values())


# Every criterion


@pytest.mark.parametrize("method", CRITERIA)
def test_every_criterion_prunes_a_convolutional_net_that_then_trains(method, rng):
    model = convnet((8, 8, 1), filters=(8, 8), num_classes=3, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False, run_eagerly=True)
    x, y = rng.normal(size=(32, 8, 8, 1)), rng.integers(0, 3, 32)
    initial = model.get_weights()
    iterations = 3 if method in ITERATIVE else None
    pruned = prune(
        model, method, 0.9, (x, y), iterations=iterations, batch_size=16, seed=0
    )
    assert pruned is model
    masks = get_masks(model)
    assert kept(masks) == round(0.1 * (72 + 576 + 96))
    for path, weight in prunable_weights(model).items():
        value = next(v for v in initial if v.shape == weight.shape)
        assert (weight.numpy() == np.where(masks[path], value, 0)).all()
    model.fit(x, y, verbose=0)
    assert sparsity(model) == pytest.approx(0.9, abs=1e-3)
    for path, weight in prunable_weights(model).items():
        assert not weight.numpy()[~masks[path]].any()


@pytest.mark.parametrize("method", CRITERIA)
@pytest.mark.parametrize("pattern", ["2:4", "unit", (2, 2)])
def test_every_criterion_in_every_pattern(method, pattern, perceptron, regression_data):
    masks = pruning_masks(
        perceptron(),
        method,
        None if pattern == "2:4" else 0.5,
        regression_data,
        pattern=pattern,
        iterations=3 if method in ITERATIVE else None,
        layers=Layers(skip_output=True),
        seed=0,
        steps=1,
    )
    assert kept(masks) == 160
    for mask in masks.values():
        if pattern == "2:4":
            assert (mask.reshape(-1, 4, mask.shape[1]).sum(axis=1) == 2).all()
        elif pattern == "unit":
            assert np.ptp(mask.sum(axis=0)) <= 1
        else:
            blocks = mask.reshape(mask.shape[0] // 2, 2, -1, 2)
            assert (blocks.all(axis=(1, 3)) == blocks.any(axis=(1, 3))).all()


@pytest.mark.parametrize("method", ["magnitude", "snip", "synflow"])
def test_a_residual_network_at_90_percent(method, rng):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    for block in range(2):
        y = keras.layers.Conv2D(8, 3, padding="same", name=f"block_{block}")(x)
        y = keras.layers.BatchNormalization()(y)
        x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(4, activation="softmax", name="output")(x)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy")
    data = rng.normal(size=(32, 16, 16, 3)), rng.integers(0, 4, 32)
    prune(model, method, 0.9, data, seed=0)
    size = 216 + 2 * 576 + 32
    assert kept(get_masks(model)) == round(0.1 * size)
    assert all(row.effective > 0 for row in report(model).rows)


# Methods against what they stand for


def test_random_pruning_is_that_of_the_callback(model):
    masks = pruning_masks(model, "random", 0.8, seed=7)
    counts = allocate(SHAPES, 0.8, "erk")
    for index, path in enumerate(PATHS):
        key = candidate_key(7, f"{index}/kernel", 0)
        assert (masks[path] == random_mask(SHAPES[path], counts[path], key)).all()


def test_the_highest_scores_of_the_network_are_kept(model, regression_data):
    scores = score_weights(model, "snip", regression_data, seed=0)
    masks = pruning_masks(model, "snip", 0.75, regression_data, seed=0)
    lowest_kept = min(scores[path][masks[path]].min() for path in PATHS)
    highest_removed = max(scores[path][~masks[path]].max() for path in PATHS)
    assert lowest_kept > highest_removed


class Recording(criteria.Criterion):
    """Notes which masks another criterion sees."""

    def __init__(self, inner):
        self.inner = inner
        self.resurrects = inner.resurrects
        self.needs_data = inner.needs_data
        self.seen = []

    def score(self, problem, masks):
        self.seen.append(masks)
        return self.inner.score(problem, masks)


@pytest.mark.parametrize("method", ITERATIVE)
def test_density_falls_geometrically(method, model, regression_data):
    recording = Recording(criteria.get(method))
    masks = pruning_masks(model, recording, 0.9, regression_data, iterations=4, seed=0)
    counts = [kept(seen) for seen in recording.seen] + [kept(masks)]
    end = round(0.1 * SIZE)
    assert counts == [round(SIZE * (end / SIZE) ** (t / 4)) for t in range(5)]


def test_only_force_lets_weights_come_back(model, regression_data):
    returned = {}
    for method in ("iterative_snip", "force"):
        recording = Recording(criteria.get(method))
        pruning_masks(model, recording, 0.95, regression_data, iterations=20, seed=0)
        gone = {path: np.zeros(SHAPES[path], bool) for path in PATHS}
        returned[method] = 0
        for masks in recording.seen:
            returned[method] += sum(int((masks[p] & gone[p]).sum()) for p in PATHS)
            gone = {path: gone[path] | ~masks[path] for path in PATHS}
    assert returned["iterative_snip"] == 0
    assert returned["force"] > 0


def test_synflow_in_iterations_reaches_sparsities_where_one_shot_collapses():
    # One layer is 20 times as wide: one shot empties it down to its last weight.
    layers = [keras.layers.Dense(n, name=f"d{n}") for n in (400, 10, 9)]
    model = keras.Sequential([keras.Input((20,)), *layers])
    masks = pruning_masks(model, "synflow", 0.995)
    counts = [mask.sum() for mask in masks.values()]
    assert min(counts) >= 10


# Distributions


def test_counts_of_a_distribution(model):
    masks = pruning_masks(model, "magnitude", 0.8, distribution="erk")
    assert {p: m.sum() for p, m in masks.items()} == allocate(SHAPES, 0.8, "erk")


def test_sparsities_of_single_tensors(model):
    masks = pruning_masks(model, "synflow", 0.5, distribution={"output/kernel": 0.25})
    assert [int(mask.sum()) for mask in masks.values()] == [96, 64, 18]


@pytest.mark.parametrize("distribution", ["global", "uniform", "erk"])
@pytest.mark.parametrize("dense", ["first", "last", ("first", "last")])
def test_dense_ends_leave_the_overall_sparsity(model, distribution, dense):
    masks = pruning_masks(
        model, "magnitude", 0.2, distribution=distribution, layers=Layers(dense=dense)
    )
    assert masks["hidden_1/kernel"].all() or "first" not in dense
    assert masks["output/kernel"].all() or "last" not in dense
    assert not masks["hidden_2/kernel"].all()
    assert kept(masks) == pytest.approx(0.8 * SIZE, abs=1)


def test_dense_ends_need_no_pattern(model):
    for dense, kept in (("last", [96, 64, 24]), ("first", [192, 64, 12])):
        masks = pruning_masks(
            model, "magnitude", pattern="2:4", layers=Layers(dense=dense)
        )
        assert [int(mask.sum()) for mask in masks.values()] == kept


def test_what_stays_dense_is_an_end():
    with pytest.raises(ValueError, match="`dense` must be one of 'first', 'last'"):
        Layers(dense="middle")


def test_dense_ends_must_leave_something(model):
    with pytest.raises(ValueError, match=r"'hidden_1/kernel'.* leave -89 for 2 others"):
        pruning_masks(model, "magnitude", 0.7, layers=Layers(dense="first"))


# Models


def test_a_pruned_model_is_pruned_further(model, regression_data):
    prune(model, "random", 0.5, seed=0)
    first = get_masks(model)
    for method in ("snip", "force", "synflow"):
        masks = pruning_masks(model, method, 0.8, regression_data, seed=0)
        assert kept(masks) == round(0.2 * SIZE)
        assert not any((masks[path] & ~first[path]).any() for path in PATHS)
    with pytest.raises(ValueError, match=r"masks remove 0\.5000.*sparsity=0\.4"):
        prune(model, "random", 0.4)


def test_a_pattern_holds_where_the_sparsity_is_reached_already(model):
    prune(model, "random", 0.5, distribution="uniform", seed=0)
    prune(model, "magnitude", pattern="2:4")
    for mask in get_masks(model).values():
        assert mask.reshape(-1, 4, mask.shape[1]).sum(axis=1).max() == 2


def test_only_what_carries_a_mask_is_pruned_unless_told_otherwise(model):
    install_masks(model, "hidden_2")
    assert list(pruning_masks(model, "magnitude", 0.5)) == ["hidden_2/kernel"]
    chosen = pruning_masks(model, "magnitude", 0.5, layers=["hidden_1", "output"])
    assert list(chosen) == ["hidden_1/kernel", "output/kernel"]


def test_frozen_layers_are_left_alone(model):
    model.layers[0].trainable = False
    prune(model, "magnitude", 0.5)
    assert list(get_masks(model)) == ["hidden_2/kernel", "output/kernel"]
    assert [layer.trainable for layer in model.layers] == [False, True, True]
    model.trainable = False
    with pytest.raises(ValueError, match="frozen"):
        prune(model, "magnitude", 0.8)


@pytest.mark.parametrize("method", ["random", "grasp", "synflow"])
def test_an_uncompiled_model_can_be_pruned(method, make_model, regression_data):
    model = make_model(compiled=False)
    prune(model, method, 0.5, regression_data, loss="mse", steps=1, seed=0)
    assert sparsity(model) == 0.5


def test_optimizer_slots_of_kept_weights_stay(model, regression_data):
    model.fit(*regression_data, verbose=0)
    before = [v.numpy().copy() for v in model.optimizer.variables]
    prune(model, "magnitude", 0.5)
    mask = get_masks(model)["hidden_1/kernel"]
    after = model.optimizer.variables
    assert after[0].numpy() == before[0]
    for old, new in zip(before, after, strict=True):
        if old.shape == mask.shape:
            assert (new.numpy() == np.where(mask, old, 0)).all()


def test_a_model_that_is_trained_already_keeps_its_masks(make_model, regression_data):
    model = make_model()
    model.fit(*regression_data, verbose=0)
    prune(model, "magnitude", 0.9)
    model.fit(*regression_data, verbose=0)
    assert sparsity(model) == pytest.approx(0.9, abs=2e-3)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(4, activation="relu")
        self.out = keras.layers.Dense(2)

    def call(self, a, b):
        return self.out(self.hidden(keras.ops.concatenate([a, b], axis=-1)))


def test_data_tell_the_inputs_that_a_model_does_not_know(rng):
    model = Subclassed()
    inputs = {name: rng.normal(size=(5, 3)).astype("float32") for name in "ab"}
    model(**inputs)
    prune(model, "synflow", 0.5, inputs)
    assert sparsity(model) == 0.5


def test_embeddings_are_pruned_on_request(rng):
    layers = [keras.layers.Embedding(9, 4), keras.layers.GlobalAveragePooling1D()]
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), *layers, keras.layers.Dense(3)]
    )
    model.compile("adam", "mse", run_eagerly=True)
    data = rng.integers(0, 9, (20, 5)), rng.normal(size=(20, 3))
    for method in ("snip", "synflow"):
        masks = pruning_masks(
            model, method, 0.5, data, layers=Layers(embeddings=True), seed=0
        )
        assert [mask.shape for mask in masks.values()] == [(9, 4), (4, 3)]
        assert kept(masks) == 24
    prune(model, "synflow", 0.5, layers=Layers(embeddings=True))
    assert len(get_masks(model)) == 2


# Guards


def test_a_collapse_names_the_layer_and_leaves_the_model(make_model):
    model = make_model(compiled=False)
    hidden, output = np.full((16, 8), 1e-6), np.ones((8, 3))
    # What is left of `hidden_2` feeds the one unit that nothing reads any more.
    hidden[0, 0], output[0] = 1e-5, 1e-4
    model.layers[1].kernel.assign(hidden)
    model.layers[2].kernel.assign(output)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"outputs: 'hidden_2/kernel' keeps 1 of 128"):
        prune(model, "magnitude", 0.9, distribution="global")
    assert get_masks(model) == {}
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_a_layer_that_is_cut_off_beside_a_live_path_is_warned_of():
    inputs = keras.Input((6,))
    left = keras.layers.Dense(6, name="left")(inputs)
    branch = keras.layers.Dense(6, name="branch")(left)
    total = keras.layers.Add()([left, branch])
    model = keras.Model(inputs, keras.layers.Dense(6, name="output")(total))
    masks = {f"{name}/kernel": np.eye(6, dtype=bool) for name in ("left", "output")}
    # Only unit 5 of `branch` is left, which `left` no longer feeds.
    for layer in model.layers[1:]:
        if layer.name in ("left", "branch", "output"):
            layer.kernel.assign(np.eye(6) + 0.01)
    branch_mask = np.zeros((6, 6), bool)
    branch_mask[5, :2] = True
    masks["left/kernel"][5, 5] = False
    install_masks(model)
    set_masks(model, {**masks, "branch/kernel": branch_mask})
    with pytest.warns(
        UserWarning, match="1 of 3 tensors: 'branch/kernel' keeps 2 of 36"
    ):
        prune(model, "magnitude", 1 - 13 / 108, distribution="global")


def test_a_layer_that_keeps_a_single_weight_is_warned_of(make_model):
    model = make_model(compiled=False)
    hidden = np.full((16, 8), 1e-6)
    hidden[0, 0] = 1e-5
    model.layers[1].kernel.assign(hidden)
    with pytest.warns(UserWarning, match=r"'hidden_2/kernel' keeps 1 of 128 weights"):
        prune(model, "magnitude", 0.5, distribution="global")


def test_an_interrupt_leaves_the_model_as_it_was(model, regression_data):
    class Interrupted(criteria.SNIP):
        def score(self, problem, masks):
            if len(masks["hidden_1/kernel"].nonzero()[0]) < 192:
                raise KeyboardInterrupt
            return super().score(problem, masks)

    before = model.get_weights()
    with pytest.raises(KeyboardInterrupt):
        prune(model, Interrupted(), 0.9, regression_data, iterations=3)
    assert get_masks(model) == {}
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    assert model._compile_loss.built is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "snap"}, "`method` must be one of 'force'"),
        ({"sparsity": None}, "`sparsity` is the fraction"),
        ({"sparsity": 1.0}, "`sparsity` is the fraction"),
        ({"method": "snip"}, "`data` is what SNIP learns from"),
        ({"iterations": 0}, "`iterations` must be an integer"),
        ({"iterations": 2}, r"one is enough\. Received: iterations=2"),
        ({"method": "synflow", "iterations": 345}, "exceed .* weights, which is 344"),
        ({"distribution": "er"}, "`distribution` must be one of"),
        ({"method": "random", "distribution": "global"}, "random masks do not"),
        ({"pattern": "3:2"}, "`pattern` must keep"),
        ({"pattern": "2:4"}, r"fixes the sparsity of every tensor at 0\.5"),
        ({"pattern": "2:4", "sparsity": 0.5, "distribution": "erk"}, "'uniform'"),
        ({"pattern": "2:3", "sparsity": None}, "axis 0 of 'hidden_2/kernel' does not"),
        ({"pattern": (5, 1)}, "must tile axes 0 and 1 of 'hidden_1/kernel'"),
        ({"layers": "nowhere"}, "`layers` must match"),
        ({"seed": -1}, "`seed` must be None"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"steps": 0}, "`steps`"),
        ({"verbose": 2}, "`verbose` must be 0 or 1"),
        ({"sparsity": 0.999}, "All 192 weights of 'hidden_1/kernel' would be removed"),
        (
            {"sparsity": 0.999, "distribution": "global"},
            "0 weights in all cannot serve 3 tensors",
        ),
    ],
)
def test_wrong_arguments_are_refused_by_name(model, arguments, message):
    settings = {"method": "magnitude", "sparsity": 0.9, **arguments}
    with pytest.raises(ValueError, match=message):
        prune(model, **settings)
    assert get_masks(model) == {}


def test_scores_that_are_no_numbers_are_refused(model, regression_data):
    x, y = regression_data
    with pytest.raises(FloatingPointError, match="SNIP gave weights of 'hidden_1/ker"):
        prune(model, "snip", 0.5, (x * np.nan, y))


class Scores(criteria.Criterion):
    """Scores by a function of the initial weights."""

    looks_at_masks = False

    def __init__(self, function):
        self.function = function

    def score(self, problem, masks):
        return {p: self.function(w) for p, w in problem.initial.items()}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda w: w.ravel(), r"one array per tensor, of its shape.*\(192,\)"),
        (lambda w: None, r"one array per tensor, of its shape.*hidden_1"),
    ],
)
def test_scores_of_other_shapes_are_refused(model, function, message):
    with pytest.raises(ValueError, match=message):
        prune(model, Scores(function), 0.5)


def test_scores_may_be_integers(model):
    thousandths = Scores(lambda w: (1000 * np.abs(w)).astype(int))
    assert kept(pruning_masks(model, thousandths, 0.5)) == 172


# Nothing to choose by


@pytest.mark.parametrize("pattern", [None, "unit", "2:4", (4, 1)])
def test_weights_that_score_0_are_kept_by_magnitude(model, pattern):
    settings = {"pattern": pattern, "layers": "hidden_1"}
    settings["sparsity"] = None if pattern == "2:4" else 0.5
    settings["distribution"] = None if pattern == "2:4" else "uniform"
    largest_alone = Scores(lambda w: np.where(np.abs(w) == np.abs(w).max(), 1e-30, 0))
    found = pruning_masks(model, largest_alone, **settings)
    expected = pruning_masks(model, "magnitude", **settings)
    assert (found["hidden_1/kernel"] == expected["hidden_1/kernel"]).all()


def test_negative_scores_stay_behind_those_that_are_0(model):
    halves = Scores(lambda w: np.where(w > 0, 0, -np.abs(w)))
    masks = pruning_masks(model, halves, 0.9, distribution="uniform")
    for path, weight in prunable_weights(model).items():
        assert (weight.numpy()[masks[path]] > 0).all()


@pytest.mark.parametrize("method", ["snip", "iterative_snip", "force"])
def test_weights_that_read_nothing_are_kept_by_magnitude(
    method, model, regression_data
):
    x, y = regression_data
    x[:, :6] = 0
    weights = np.abs(model.layers[0].kernel.numpy()[:6])
    iterations = 3 if method in ITERATIVE and method != "snip" else None
    prune(model, method, 0.25, (x, y), distribution="uniform", iterations=iterations)
    mask = get_masks(model)["hidden_1/kernel"][:6]
    assert 0 < mask.sum() < mask.size
    assert weights[mask].min() > weights[~mask].max()


@pytest.mark.parametrize("distribution", ["uniform", "global"])
@pytest.mark.parametrize("method", ["snip", "iterative_snip", "force", "synflow"])
def test_a_network_without_any_gradient_is_refused(
    method, distribution, model, regression_data
):
    model.layers[-1].kernel.assign(np.zeros((8, 3)))
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"'hidden_1/kernel', .* the same score \(0\)"):
        prune(model, method, 0.5, regression_data, distribution=distribution)
    assert get_masks(model) == {}
    pairs = zip(before, model.get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)


def test_scores_that_are_all_the_same_are_refused(model):
    with pytest.raises(ValueError, match=r"same score \(3\), so there is nothing"):
        prune(model, Scores(lambda w: np.full(w.shape, 3.0)), 0.5)


@pytest.mark.parametrize(
    ("value", "instead"), [(0.0, "the largest, and of equals"), (2.0, "the first are")]
)
def test_one_tensor_whose_scores_are_all_the_same_is_warned_of(value, instead, model):
    model.layers[-1].kernel.assign(np.full((8, 3), value))
    with pytest.warns(UserWarning, match=rf"of 'output/kernel' the same .*{instead}"):
        prune(model, "magnitude", 0.5, distribution="uniform")
    assert sparsity(model, "output") >= 0.5


def test_what_stays_dense_needs_no_choice(model):
    model.layers[-1].kernel.assign(np.ones((8, 3)))
    prune(model, "magnitude", 0.5, distribution="uniform", layers=Layers(dense="last"))
    assert get_masks(model)["output/kernel"].all()


def test_verbose_shows_iterations_and_the_outcome(model, capsys):
    prune(model, "synflow", 0.5, iterations=3, verbose=1)
    printed = capsys.readouterr().out
    assert "3/3" in printed
    assert "kept 172 of 344 weights (sparsity 0.5000)" in printed
