import numpy as np
import pytest

from keras_initprune.arrays.masks import candidate_key, random_mask, random_unit_mask
from keras_initprune.arrays.selection import SELECTIONS, k_starts_masks


@pytest.fixture
def fitness(rng):
    return {"a": rng.random((30, 20)), "b": rng.random((20, 4))}


def candidates(path, shape, count, k):
    return [random_mask(shape, count, candidate_key(0, path, i)) for i in range(k)]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("distribution", ["uniform", "erk", {"b": 0.5}])
def test_counts_are_exact(fitness, selection, distribution):
    masks = k_starts_masks(fitness, 5, 0.8, selection, distribution)
    expected = {"uniform": (120, 16), "erk": (92, 44)}.get(str(distribution), (120, 40))
    assert (masks["a"].sum(), masks["b"].sum()) == expected


@pytest.mark.parametrize("selection", SELECTIONS)
def test_one_start_is_random_pruning(fitness, selection):
    masks = k_starts_masks(fitness, 1, 0.8, selection, "uniform")
    for path, scores in fitness.items():
        key = candidate_key(0, path, 0)
        draw = random_unit_mask if selection == "unit" else random_mask
        expected = draw(scores.shape, int(masks[path].sum()), key)
        assert (masks[path] == expected).all()


def test_network_takes_one_index_for_all_tensors(fitness):
    masks = k_starts_masks(fitness, 6, 0.8, "network", "uniform")
    starts = {p: candidates(p, f.shape, masks[p].sum(), 6) for p, f in fitness.items()}
    totals = [sum(fitness[p][starts[p][i]].sum() for p in fitness) for i in range(6)]
    best = int(np.argmax(totals))
    assert all((masks[p] == starts[p][best]).all() for p in fitness)


def test_layer_takes_the_fittest_of_every_tensor(fitness):
    masks = k_starts_masks(fitness, 6, 0.8, "layer", "uniform")
    for path, scores in fitness.items():
        starts = candidates(path, scores.shape, masks[path].sum(), 6)
        assert scores[masks[path]].sum() == max(scores[m].sum() for m in starts)


def test_unit_takes_the_fittest_of_every_unit(fitness):
    mask = k_starts_masks(fitness, 6, 0.8, "unit", "uniform")["a"]
    starts = [
        random_unit_mask((30, 20), 120, candidate_key(0, "a", i)) for i in range(6)
    ]
    assert (mask.sum(axis=0) == 6).all()
    for unit in range(20):
        column = fitness["a"][:, unit]
        best = max(column[start[:, unit]].sum() for start in starts)
        assert column[mask[:, unit]].sum() == best


def test_recombination_keeps_the_fittest_of_the_union(fitness):
    mask = k_starts_masks(fitness, 3, 0.8, "recombine", "uniform")["a"]
    union = np.any(candidates("a", (30, 20), 120, 3), axis=0)
    assert not (mask & ~union).any()
    assert fitness["a"][mask].min() > fitness["a"][union & ~mask].max()


def test_with_many_starts_recombination_tends_to_the_top_weights(fitness):
    mask = k_starts_masks(fitness, 200, 0.8, "recombine", "uniform")["a"]
    top = np.sort(fitness["a"].ravel())[-120:]
    assert np.allclose(np.sort(fitness["a"][mask]), top)


def test_finer_competition_finds_fitter_masks(fitness):
    def total(selection, k=16):
        masks = k_starts_masks(fitness, k, 0.8, selection, "uniform")
        return sum(fitness[path][mask].sum() for path, mask in masks.items())

    assert total("network", 1) < total("network") <= total("layer")
    assert total("layer") < total("unit") < total("recombine")


def test_global_recombination_keeps_the_fittest_of_all_tensors(fitness):
    scaled = {"a": fitness["a"], "b": fitness["b"] + 10}
    masks = k_starts_masks(scaled, 200, 0.9, "recombine", "global")
    assert masks["b"].sum() == 68 - masks["a"].sum()
    assert masks["b"].sum() == 67


def test_global_ranking_needs_a_selection_that_ranks(fitness):
    with pytest.raises(ValueError, match="ranks weights"):
        k_starts_masks(fitness, 4, 0.8, "unit", "global")


def test_another_seed_gives_another_mask(fitness):
    first = k_starts_masks(fitness, 4, 0.8, seed=0)["a"]
    second = k_starts_masks(fitness, 4, 0.8, seed=1)["a"]
    assert (first != second).any()
