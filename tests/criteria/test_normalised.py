"""Scores normalised in each tensor, against loops that one can read."""

import keras
import numpy as np
import pytest

from keras_initprune import criteria, prune, pruning_masks, score_weights
from keras_initprune.criteria import Normalised
from keras_initprune.criteria.normalised import NORMALISATIONS, l2, lamp


def lamp_by_hand(weights):
    """Equation 2 of arXiv 2010.07611, weight by weight."""
    return np.array(
        [u**2 / sum(v**2 for v in weights.ravel() if v >= u) for u in weights.ravel()]
    ).reshape(weights.shape)


@pytest.fixture
def model(rng):
    """The weights of the first layer are a hundredth of those of the second."""
    model = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(10), keras.layers.Dense(6, name="last")]
    )
    for layer, scale in zip(model.layers, (0.01, 1), strict=True):
        layer.kernel.assign(rng.normal(0, scale, layer.kernel.shape))
    model.compile("sgd", "mse")
    return model


def kernels(model):
    return [keras.ops.convert_to_numpy(layer.kernel) for layer in model.layers]


def test_lamp_is_that_of_the_paper(model):
    scores = score_weights(model, Normalised("magnitude", "lamp"))
    for score, kernel in zip(scores.values(), kernels(model), strict=True):
        np.testing.assert_allclose(score, lamp_by_hand(np.abs(kernel)), rtol=1e-6)
        assert score.max() == 1


def test_l2_has_the_norm_1(model):
    scores = score_weights(model, Normalised("magnitude", "l2"))
    for score, kernel in zip(scores.values(), kernels(model), strict=True):
        np.testing.assert_allclose(np.square(score).sum(), 1)
        np.testing.assert_allclose(
            score, np.abs(kernel) / np.linalg.norm(kernel), rtol=1e-6
        )


@pytest.mark.parametrize("by", NORMALISATIONS)
def test_the_size_of_a_layer_does_not_matter(by, model):
    def kept():
        masks = pruning_masks(model, Normalised("magnitude", by), 0.8)
        return [mask.tolist() for mask in masks.values()]

    assert all(np.sum(mask) > 5 for mask in kept())
    before = kept()
    model.layers[0].kernel.assign(model.layers[0].kernel * 1024)
    assert kept() == before
    # As they are, the scores of the other layer count for nothing.
    with pytest.warns(UserWarning, match="'last/kernel' keeps 1 of 60 weights"):
        pruning_masks(model, "magnitude", 0.8, distribution="global")


@pytest.mark.parametrize("by", NORMALISATIONS)
@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_extreme_scores_and_zeros(by, scale):
    scores = np.array([3.0, 0.0, 4.0, 1.0])
    normalise = NORMALISATIONS[by]
    np.testing.assert_allclose(normalise(scores * scale), normalise(scores))
    assert normalise(scores)[1] == 0
    assert not normalise(np.zeros((2, 2))).any()


def test_scores_keep_their_order_within_a_tensor(rng):
    scores = rng.exponential(size=50)
    for normalise in (l2, lamp):
        np.testing.assert_array_equal(np.argsort(normalise(scores)), np.argsort(scores))


@pytest.mark.parametrize("method", [n for n in criteria.CRITERIA if n != "random"])
def test_every_criterion_that_ranks_can_be_normalised(method, model, rng):
    data = rng.normal(size=(16, 20)), rng.normal(size=(16, 6))
    found = Normalised(method)
    assert found.iterations == criteria.get(method).iterations
    iterations = 2 if found.looks_at_masks else None
    prune(model, found, 0.8, data, iterations=iterations)
    kept = sum(np.count_nonzero(kernel) for kernel in kernels(model))
    assert kept == round(0.2 * (200 + 60))


def test_what_cannot_be_normalised_is_refused(model, rng):
    with pytest.raises(ValueError, match=r"`criterion` must rank .*'random'"):
        Normalised("random")
    with pytest.raises(ValueError, match=r"`by` must be .*'lamp'"):
        Normalised("magnitude", "l1")
    data = rng.normal(size=(16, 20)), rng.normal(size=(16, 6))
    with pytest.raises(ValueError, match=r"`by='lamp'` .* negative.*Received"):
        prune(model, Normalised("grasp", "lamp"), 0.5, data)
