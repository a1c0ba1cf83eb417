import numpy as np
import pytest

from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.criteria.fitness import FITNESS


@pytest.mark.parametrize("name", FITNESS)
def test_fitness_has_the_shape_of_the_weight_and_is_finite(name, rng):
    weight, gradient = rng.normal(size=(2, 5, 4)).astype("float32")
    fitness = FITNESS[name](weight, np.abs(gradient))
    assert fitness.shape == (5, 4)
    assert (fitness >= 0).all()


def test_combined_fitness_does_not_depend_on_either_scale(rng):
    weight, gradient = np.abs(rng.normal(size=(2, 5, 4)))
    combined = FITNESS["combined"]
    assert np.allclose(combined(weight, gradient), combined(3 * weight, 0.1 * gradient))


def test_combined_fitness_of_zeros_is_zero():
    assert (FITNESS["combined"](np.zeros(3), np.zeros(3)) == 0).all()


@pytest.mark.parametrize("name", DISSIPATION)
def test_weights_that_stay_score_lowest(name, rng):
    initial = {"a": rng.normal(size=(6, 5)).astype("float32")}
    moved = np.zeros((6, 5), "float32")
    moved[2:] = 1.0
    weights = {"a": initial["a"] + moved}
    scores = DISSIPATION[name](weights, initial, {"a": moved})["a"]
    assert scores[:2].max() == 0
    assert scores[2:].min() > 0


def test_movement_ranks_by_distance_over_the_whole_network(rng):
    initial = {"a": rng.normal(size=4), "b": 10 * rng.normal(size=4)}
    weights = {"a": initial["a"] + 2.0, "b": initial["b"] + 1.0}
    scores = DISSIPATION["movement"](weights, initial, {})
    assert np.allclose(scores["a"], 2 * scores["b"][0])


def test_relative_movement_from_zero_is_as_far_as_numbers_go():
    initial = {"a": np.array([0.0, 0.0, 1.0], "float32")}
    weights = {"a": np.array([0.0, 0.1, 3.0], "float32")}
    scores = DISSIPATION["relative"](weights, initial, {})["a"]
    assert scores.tolist() == [0.0, np.finfo("float32").max, 2.0]


def test_standardised_movement_is_measured_within_the_tensor():
    initial = {"a": np.array([-1.0, 1.0]), "b": np.array([-10.0, 10.0])}
    weights = {"a": initial["a"] + 1, "b": initial["b"] + 10}
    scores = DISSIPATION["standardised"](weights, initial, {})
    assert np.allclose(scores["a"], scores["b"])
