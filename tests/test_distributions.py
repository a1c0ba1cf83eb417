import math

import numpy as np
import pytest

from keras_initprune.distributions import allocate, check_distribution

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
