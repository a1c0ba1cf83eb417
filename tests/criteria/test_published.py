"""Scores and masks agree with the papers' own programs; see `published/README.md`."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_initprune import criteria, pruning_masks, score_weights
from keras_initprune.arrays.distributions import allocate
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.criteria.data import collect_batches

FOLDER = Path(__file__).parent / "published"
THEIRS = dict(np.load(FOLDER / "scores.npz"))
ERK = json.loads((FOLDER / "erk.json").read_text())
layers = keras.layers


def model_of(network):
    """Return the network with the weights that their programs had."""
    options = {"use_bias": False, "dtype": "float64"}
    if network == "perceptron":
        hidden = [
            layers.Dense(units, "relu", name=name, **options)
            for name, units in (("dense_1", 8), ("dense_2", 5))
        ]
        stack = [*hidden, layers.Dense(3, name="dense_3", **options)]
    else:
        norm = layers.BatchNormalization(epsilon=1e-5, name="norm", dtype="float64")
        stack = [
            layers.Conv2D(4, 3, name="conv_1", **options),
            norm,
            layers.ReLU(dtype="float64"),
            layers.Conv2D(5, 3, strides=2, activation="relu", name="conv_2", **options),
            layers.GlobalAveragePooling2D(dtype="float64"),
            layers.Dense(3, name="dense", **options),
        ]
    shape = THEIRS[f"{network}/x"].shape[1:]
    model = keras.Sequential([keras.Input(shape, dtype="float64"), *stack])
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(THEIRS[f"{network}/weights/{layer.name}"])
    if network == "convnet":
        norm.set_weights(
            [THEIRS[f"convnet/weights/{n}"] for n in ("gamma", "beta", "mean", "var")]
        )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    return model


def batches(network, parts):
    """Return the twelve examples in so many batches, as often as they are read."""

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return parts

        def __getitem__(self, index):
            x = THEIRS[f"{network}/x"].astype("float64")
            return np.split(x, parts)[index], np.split(THEIRS["y"], parts)[index]

    return Batches()


def joined(arrays, names):
    return np.concatenate([np.ravel(arrays[name]) for name in names])


def theirs(name, model):
    """Return their array, in the order of the model's kernels."""
    names = [layer.name for layer in model.layers if hasattr(layer, "kernel")]
    return joined(THEIRS, [f"{name}/{layer}" for layer in names])


def ours(arrays):
    return joined(arrays, arrays)


def assert_same_scores(mine, published):
    published, mine = published / np.abs(published).sum(), mine / np.abs(mine).sum()
    largest = np.abs(published).max()
    # Relative, but for what cancels to next to nothing.
    np.testing.assert_allclose(mine, published, rtol=1e-5, atol=1e-7 * largest)
    assert (np.argsort(mine) == np.argsort(published)).all()


NETWORKS = [("perceptron", True), ("convnet", True), ("convnet", False)]


@pytest.mark.parametrize(("network", "training"), NETWORKS)
@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_scores_of_snip_and_grasp(method, network, training):
    model = model_of(network)
    criterion = criteria.CRITERIA[method](training=training)
    scores = score_weights(model, criterion, batches(network, 2))
    mode = "batch" if training else "moving"
    assert_same_scores(ours(scores), theirs(f"{network}/{method}/{mode}/scores", model))


@pytest.mark.parametrize("network", ["perceptron", "convnet"])
def test_scores_of_synflow(network):
    model = model_of(network)
    scores = ours(score_weights(model, "synflow"))
    published = theirs(f"{network}/synflow/scores", model)
    np.testing.assert_allclose(scores, published, rtol=1e-5)


@pytest.mark.parametrize("network", ["perceptron", "convnet"])
def test_scores_of_force_in_the_network_that_is_left(network):
    model = model_of(network)
    weights = prunable_weights(model)
    masks = {
        path: THEIRS[f"{network}/force/mask/{weight.layer.name}"]
        for path, weight in weights.items()
    }
    examples = collect_batches(batches(network, 1), batch_size=12, steps=1)
    problem = criteria.Problem(model, weights, examples)
    scores = criteria.get("force").score(problem, masks)
    assert_same_scores(ours(scores), theirs(f"{network}/force/scores", model))


@pytest.mark.parametrize("network", ["perceptron", "convnet"])
@pytest.mark.parametrize(
    ("method", "parts", "iterations"),
    [
        ("snip", 1, 1),
        ("grasp", 2, 1),
        ("synflow", 1, 100),
        ("force", 1, 5),
        ("iterative_snip", 1, 5),
    ],
)
def test_masks(method, parts, iterations, network):
    model = model_of(network)
    published = theirs(f"{network}/{method}/mask", model)
    sparsity = 1 - published.mean()
    data = None if method == "synflow" else batches(network, parts)
    masks = pruning_masks(model, method, sparsity, data, iterations=iterations)
    mask = ours(masks)
    assert mask.sum() == published.sum()
    assert (mask == published).all()


@pytest.mark.parametrize(
    "run", ERK["runs"], ids=lambda run: f"{run['network']}-{run['sparsity']}"
)
def test_densities_of_erk(run):
    shapes = {path: tuple(s) for path, s in ERK["shapes"][run["network"]].items()}
    counts = allocate(shapes, run["sparsity"], "erk")
    for path, density in run["densities"].items():
        # Theirs rounds the zeros of every tensor, ours the sum: a weight each.
        assert counts[path] == pytest.approx(density * np.prod(shapes[path]), abs=2)


@pytest.mark.parametrize("method", ["snip", "iterative_snip", "force", "grasp"])
def test_training_is_true_or_false(method):
    with pytest.raises(ValueError, match=r"`training` must .*Received: training=1"):
        criteria.CRITERIA[method](training=1)
