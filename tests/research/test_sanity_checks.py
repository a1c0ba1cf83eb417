import itertools

import keras
import numpy as np
import pytest

from keras_initprune import get_masks, install_masks, set_masks
from keras_initprune.research.sanity_checks import (
    corrupt_labels,
    corrupt_pixels,
    inverted_masks,
    random_fitness,
    reinitialise,
    shuffle_layerwise,
    shuffle_preserving_degrees,
)


@pytest.fixture
def masks(rng):
    shapes = {"dense": (30, 20), "conv": (3, 3, 8, 12)}
    return {path: rng.random(shape) < 0.2 for path, shape in shapes.items()}


@pytest.mark.parametrize("shuffle", [shuffle_layerwise, shuffle_preserving_degrees])
def test_shuffles_keep_counts_and_follow_the_seed(shuffle, masks):
    shuffled = shuffle(masks, seed=1)
    for path, mask in masks.items():
        assert shuffled[path].dtype == bool
        assert shuffled[path].shape == mask.shape
        assert shuffled[path].sum() == mask.sum()
        # By chance, about a fifth of what is kept is kept again.
        assert (shuffled[path] & mask).sum() < 0.5 * mask.sum()
        assert (shuffle(masks, seed=1)[path] == shuffled[path]).all()
        assert (shuffle(masks, seed=2)[path] != shuffled[path]).any()


def test_every_unit_keeps_its_degree(masks):
    shuffled = shuffle_preserving_degrees(masks, seed=1)
    # Axes that are summed over, so that inputs and outputs remain one by one.
    for path, others in {"dense": [(1,), (0,)], "conv": [(0, 1, 3), (0, 1, 2)]}.items():
        for axes in others:
            degrees = [m[path].sum(axis=axes).tolist() for m in (masks, shuffled)]
            assert degrees[0] == degrees[1]


def test_graphs_of_given_degrees_are_equally_likely():
    # Rows with 2, 1, 1 and columns with 2, 1, 1 connections: five matrices.
    start = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], bool)
    flat = list(itertools.product([0, 1], repeat=9))
    matrices = [np.reshape(values, (3, 3)) for values in flat]
    possible = [
        m.tolist()
        for m in matrices
        if m.sum(0).tolist() == [2, 1, 1] and m.sum(1).tolist() == [2, 1, 1]
    ]
    assert len(possible) == 5
    draws = 2000
    masks = {str(index): start for index in range(draws)}
    found = [m.tolist() for m in shuffle_preserving_degrees(masks, rounds=20).values()]
    counts = np.array(
        [found.count([[bool(v) for v in r] for r in p]) for p in possible]
    )
    assert counts.sum() == draws
    # Chi-squared with 4 degrees of freedom: 18.5 is exceeded once in a thousand times.
    assert np.sum((counts - draws / 5) ** 2 / (draws / 5)) < 18.5


def test_the_only_graph_of_its_degrees_stays():
    triangle = np.triu(np.ones((5, 5), bool))
    shuffled = shuffle_preserving_degrees({"kernel": triangle}, seed=3)
    assert (shuffled["kernel"] == triangle).all()


def test_a_model_says_what_the_axes_mean(rng):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            keras.layers.Conv2DTranspose(5, 3, name="transposed"),
            keras.layers.Reshape((64, 5)),
            keras.layers.EinsumDense("abc,cde->abde", (64, 4, 3), name="einsum"),
        ]
    )
    shapes = {f"{layer.name}/kernel": layer.kernel.shape for layer in model.layers[:2]}
    shapes["einsum/kernel"] = model.layers[-1].kernel.shape
    masks = {path: rng.random(shape) < 0.4 for path, shape in shapes.items()}
    shuffled = shuffle_preserving_degrees(masks, seed=1, model=model)
    kept_axes = {
        "depthwise/kernel": [(2, 3)],  # Every output channel has one input channel.
        "transposed/kernel": [(3,), (2,)],
        "einsum/kernel": [(0,), (1, 2)],
    }
    for path, groups in kept_axes.items():
        assert (masks[path] != shuffled[path]).any()
        for kept in groups:
            others = tuple(axis for axis in range(masks[path].ndim) if axis not in kept)
            before, after = masks[path].sum(others), shuffled[path].sum(others)
            assert (before == after).all()


def test_masks_without_two_axes_or_of_another_model_are_refused(make_model):
    with pytest.raises(ValueError, match="at least two axes"):
        shuffle_preserving_degrees({"bias": np.ones(3, bool)})
    with pytest.raises(ValueError, match=r"`masks` must name .*Received: 'other'"):
        shuffle_preserving_degrees({"other": np.ones((3, 3), bool)}, model=make_model())


def test_inverted_masks_keep_the_worst():
    scores = {"a": np.array([[3.0, 1.0], [2.0, 0.0]]), "b": np.arange(4.0)}
    masks = {path: score >= 2 for path, score in scores.items()}
    inverted = inverted_masks(masks, scores)
    assert inverted["a"].tolist() == [[False, True], [False, True]]
    assert inverted["b"].tolist() == [True, True, False, False]
    with pytest.raises(ValueError, match=r"`scores` must .* shape \(4,\)"):
        inverted_masks(masks, {"a": scores["a"]})


def test_random_fitness_differs_between_tensors_and_seeds():
    masks = {"a": np.ones((4, 5), bool), "b": np.ones((4, 5), bool)}
    first, other = random_fitness(masks, seed=0), random_fitness(masks, seed=1)
    assert (first["a"] != first["b"]).all()
    assert (first["a"] != other["a"]).all()


def test_labels_are_permuted_among_a_fraction():
    y = np.arange(100)
    corrupted = corrupt_labels(y, 0.3, seed=1)
    assert sorted(corrupted) == sorted(y)
    assert 25 <= (corrupted != y).sum() <= 30
    assert (y == np.arange(100)).all()
    one_hot = np.eye(5)
    assert sorted(corrupt_labels(one_hot, seed=1).tolist()) == sorted(one_hot.tolist())
    with pytest.raises(ValueError, match="`fraction`"):
        corrupt_labels(y, 0.0)


def test_pixels_are_permuted_and_stay_whole(rng):
    x = rng.integers(0, 256, (1030, 4, 4, 3), np.uint8)
    for per_image in (True, False):
        corrupted = corrupt_pixels(x, seed=1, per_image=per_image)
        assert corrupted.dtype == x.dtype
        for index in (0, 1029):
            pixels = [
                sorted(map(tuple, i[index].reshape(-1, 3))) for i in (x, corrupted)
            ]
            assert pixels[0] == pixels[1]
            assert (corrupted[index] != x[index]).any()
    positions = np.broadcast_to(np.arange(16.0), (2, 16))
    first, second = corrupt_pixels(positions, seed=1)
    assert (first != second).any()
    first, second = corrupt_pixels(positions, seed=1, per_image=False)
    assert (first == second).all()
    with pytest.raises(ValueError, match="must be vectors"):
        corrupt_pixels(np.zeros(3))


def test_reinitialised_weights_are_new_and_masks_stay(make_model, regression_data, rng):
    def make():
        model = install_masks(make_model("adam"))
        mask = rng.random((12, 16)) < 0.5
        set_masks(model, {"hidden_1/kernel": mask})
        model.fit(*regression_data, verbose=0)
        return model, mask

    model, mask = make()
    trained = model.get_weights()
    weights = reinitialise(model, seed=1).get_weights()
    assert int(model.optimizer.iterations.numpy()) == 0
    assert (get_masks(model)["hidden_1/kernel"] == mask).all()
    kernel = model.layers[0].kernel.numpy()
    assert ((kernel != 0) == mask).all()
    # Glorot's limit; zeros for biases.
    assert np.abs(kernel).max() <= np.sqrt(6 / 28)
    assert (model.layers[0].bias.numpy() == 0).all()
    assert (kernel[mask] != trained[0][mask]).all()
    again = reinitialise(model, seed=1).get_weights()
    other = reinitialise(model, seed=2).get_weights()
    assert all((a == b).all() for a, b in zip(weights, again, strict=True))
    assert (weights[0][mask] != other[0][mask]).all()
    model.fit(*regression_data, verbose=0)
    assert not model.layers[0].kernel.numpy()[~mask].any()


def test_initializers_with_a_seed_and_recurrent_layers_are_redrawn():
    initializer = keras.initializers.HeNormal(seed=3)
    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            keras.layers.LSTM(4),
            keras.layers.Dense(3, kernel_initializer=initializer),
        ]
    )
    before = model.get_weights()
    after = reinitialise(model, seed=0).get_weights()
    # The forget gate's bias begins at one, the other biases at zero.
    assert after[2].tolist() == before[2].tolist()
    for index in (0, 1, 3):
        assert (after[index] != before[index]).all()


def test_models_that_cannot_be_rebuilt_need_a_function():
    class Own(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.inner = keras.layers.Dense(units)

        def call(self, inputs):
            return self.inner(inputs)

        def get_config(self):
            raise NotImplementedError("no configuration")

    def build(seed):
        keras.utils.set_random_seed(seed)
        own = Own(3)
        own(np.zeros((1, 2)))
        return own

    model = build(0)
    before = model.get_weights()[0]
    with pytest.raises(ValueError, match=r"no configuration.*Give a function"):
        reinitialise(model)
    with pytest.raises(ValueError, match="same weights' shapes"):
        reinitialise(model, build=lambda seed: keras.Sequential([keras.Input((2,))]))
    assert (reinitialise(model, 1, build).get_weights()[0] != before).all()
