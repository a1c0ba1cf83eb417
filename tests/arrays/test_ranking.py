import numpy as np
import pytest

from keras_initprune.arrays.ranking import global_top_k, rank_masks


def test_global_ranking_lets_all_weights_compete():
    scores = {"a": np.array([[9.0, 8.0], [7.0, 1.0]]), "b": np.array([6.0, 2.0])}
    masks = rank_masks(scores, 0.5, "global")
    assert masks["a"].tolist() == [[True, True], [False, False]]
    assert masks["b"].tolist() == [True, False]


def test_global_ranking_spares_the_best_of_every_tensor():
    scores = {"a": np.arange(10.0, 20.0), "b": np.array([1.0, 2.0, 3.0])}
    masks = rank_masks(scores, 9 / 13, "global")
    assert masks["a"].sum() == 3
    assert masks["b"].tolist() == [False, False, True]


def test_what_was_removed_stays_removed():
    scores = {"a": np.array([5.0, 4.0, 3.0, 2.0])}
    eligible = {"a": np.array([False, True, True, True])}
    for distribution in ("global", "uniform", "erk", {"a": 0.5}):
        mask = rank_masks(scores, 0.5, distribution, eligible)["a"]
        assert mask.tolist() == [False, True, True, False]


def test_more_tensors_than_weights_is_an_error():
    scores = {"a": np.ones(5), "b": np.ones(5)}
    eligible = {path: np.ones(5, bool) for path in scores}
    with pytest.raises(ValueError, match="1 weights in all cannot serve 2 tensors"):
        global_top_k(scores, 1, eligible)
