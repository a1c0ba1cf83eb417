import math

import numpy as np
import pytest

from keras_initprune.arrays.distributions import allocate, check_distribution

LENET = {"a": (784, 300), "b": (300, 100), "c": (100, 10)}
SIZE = sum(math.prod(shape) for shape in LENET.values())


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 0.95, 0.98, 0.995])
def test_uniform_gives_every_tensor_the_overall_sparsity(sparsity):
    counts = allocate(LENET, sparsity, "uniform")
    assert counts == {p: round((1 - sparsity) * math.prod(LENET[p])) for p in LENET}


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 0.95, 0.98, 0.995])
def test_erk_adds_up_exactly(sparsity):
    counts = allocate(LENET, sparsity, "erk")
    assert sum(counts.values()) == round((1 - sparsity) * SIZE)
    assert all(0 < counts[p] <= math.prod(LENET[p]) for p in LENET)


def test_erk_density_is_proportional_to_the_published_formula():
    counts = allocate(LENET, 0.98, "erk")
    density = {p: counts[p] / math.prod(LENET[p]) for p in LENET}
    formula = {p: sum(LENET[p]) / math.prod(LENET[p]) for p in LENET}
    ratios = [density[p] / formula[p] for p in LENET]
    assert np.allclose(ratios, ratios[0], rtol=2e-3)


def test_erk_of_convolutions_is_the_published_formula():
    # Evci et al. 2020: 1 - s = e (n_in + n_out + w + h) / (n_in n_out w h).
    shapes = {"a": (3, 3, 64, 128), "b": (5, 5, 128, 128), "c": (128, 10)}
    counts = allocate(shapes, 0.99, "erk")
    scales = []
    for path, shape in shapes.items():
        formula = sum(shape) / math.prod(shape)
        scales.append(counts[path] / math.prod(shape) / formula)
    assert np.allclose(scales, scales[0], rtol=2e-3)
    assert sum(counts.values()) == round(0.01 * sum(map(math.prod, shapes.values())))


@pytest.mark.parametrize("distribution", ["uniform", "erk"])
def test_dense_tensors_leave_the_overall_sparsity(distribution):
    counts = allocate(LENET, 0.9, distribution, dense=["c"])
    assert counts["c"] == 1000
    assert sum(counts.values()) == round(0.1 * SIZE)


def test_a_dense_tensor_is_one_of_sparsity_0_in_a_dictionary():
    expected = allocate(LENET, 0.9, {"a": 0.95, "c": 0.0})
    assert allocate(LENET, 0.9, {"a": 0.95}, dense=["c"]) == expected


def test_dense_tensors_must_leave_something_for_the_others():
    with pytest.raises(ValueError, match=r"dense tensors \['a'\] keep 235200 weights"):
        allocate(LENET, 0.9, "erk", dense=["a"])


def test_erk_keeps_a_full_tensor_dense_and_lets_the_others_share_the_rest():
    counts = allocate({"wide": (100, 100), "narrow": (4, 2)}, 0.5, "erk")
    assert counts == {"wide": 4996, "narrow": 8}


def test_what_is_no_longer_there_is_not_allocated():
    counts = allocate(LENET, 0.9, "erk", {"a": 235200, "b": 30000, "c": 100})
    assert counts["c"] == 100
    assert sum(counts.values()) == round(0.1 * SIZE)


def test_a_dictionary_sets_single_tensors():
    counts = allocate(LENET, 0.9, {"c": 0.0})
    assert counts == {"a": 23520, "b": 3000, "c": 1000}


def test_a_dictionary_must_name_prunable_weights():
    with pytest.raises(ValueError, match=r"`distribution` must name .* \['d'\]"):
        allocate(LENET, 0.9, {"d": 0.5})


def test_a_tensor_never_keeps_nothing():
    with pytest.raises(ValueError, match="All 8 weights of 'b' would be removed"):
        allocate({"a": (100, 100), "b": (2, 4)}, 0.99, "uniform")


def test_ranking_over_the_network_needs_ranks():
    assert check_distribution("global", ranked=True) == "global"
    with pytest.raises(ValueError, match='`distribution="global"` ranks all weights'):
        check_distribution("global", ranked=False)


@pytest.mark.parametrize("bad", ["er", 0.5, None])
def test_unknown_distributions_list_the_valid_ones(bad):
    with pytest.raises(ValueError, match="must be one of 'erk', 'global', 'uniform'"):
        check_distribution(bad, ranked=True)


def test_a_dictionary_holds_sparsities():
    with pytest.raises(ValueError, match=r"`distribution\['a'\]` is the fraction"):
        check_distribution({"a": 1.0}, ranked=True)
