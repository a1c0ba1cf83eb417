import hashlib

import numpy as np
import pytest

from keras_initprune.arrays import masks


@pytest.mark.parametrize("count", [0, 1, 5, 11, 12])
def test_top_k_keeps_exactly_k_also_when_all_scores_tie(count):
    assert masks.top_k_mask(np.ones((3, 4)), count).sum() == count


def test_among_equal_scores_the_first_win():
    mask = masks.top_k_mask(np.array([1, 2, 2, 2, 0]), 2)
    assert mask.tolist() == [False, True, True, False, False]


def test_top_k_keeps_the_highest(rng):
    scores = rng.normal(size=(20, 30))
    mask = masks.top_k_mask(scores, 100)
    assert scores[mask].min() > scores[~mask].max()


def test_top_k_chooses_among_the_eligible_only(rng):
    scores = rng.normal(size=(10, 10))
    eligible = rng.random((10, 10)) < 0.3
    mask = masks.top_k_mask(scores, 12, eligible)
    assert mask.sum() == 12
    assert not (mask & ~eligible).any()
    assert scores[mask].min() > scores[eligible & ~mask].max()


@pytest.mark.parametrize("count", [-1, 5])
def test_top_k_refuses_counts_beyond_the_eligible(count):
    with pytest.raises(ValueError, match="`count` must lie between 0 and the 4"):
        masks.top_k_mask(np.arange(4.0), count)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_top_k_refuses_scores_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="`scores` must be finite"):
        masks.top_k_mask(np.array([1.0, bad]), 1)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95, 0.999])
def test_random_masks_keep_exact_counts(sparsity):
    count = masks.kept_count(7 * 11 * 13, sparsity)
    assert masks.random_mask((7, 11, 13), count, key=3).sum() == count


def test_a_random_mask_is_a_function_of_its_key():
    def draw(seed, tensor, candidate):
        key = masks.candidate_key(seed, tensor, candidate)
        return masks.random_mask((50, 40), 400, key)

    reference = draw(0, "0/kernel", 0)
    assert (reference == draw(0, "0/kernel", 0)).all()
    others = [draw(1, "0/kernel", 0), draw(0, "1/kernel", 0), draw(0, "0/kernel", 1)]
    # Independent masks of density 0.2 share a fifth of what they keep.
    for other in others:
        assert 0.1 < (reference & other).sum() / 400 < 0.3


def test_random_masks_are_the_same_on_every_machine():
    mask = masks.random_mask((64, 64), 409, masks.candidate_key(7, "0/kernel", 3))
    digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
    assert digest[:16] == "428d0d9cc0e1b8c7"


def test_random_masks_keep_every_weight_equally_often():
    kept = sum(
        masks.random_mask((30,), 6, masks.candidate_key(0, "t", i)).astype(int)
        for i in range(2000)
    )
    # Binomial with mean 400 and deviation 17.9: five deviations.
    assert np.abs(kept - 400).max() < 90


def test_random_masks_can_be_drawn_among_survivors(rng):
    eligible = rng.random((20, 20)) < 0.5
    mask = masks.random_mask((20, 20), 50, key=1, eligible=eligible)
    assert mask.sum() == 50
    assert not (mask & ~eligible).any()


@pytest.mark.parametrize(
    ("shape", "unit_axes", "units"),
    [
        ((12, 5), (-1,), 5),
        ((3, 3, 4, 8), (-1,), 8),
        ((3, 3, 8, 4), (-2,), 8),
        ((3, 3, 4, 2), (-2, -1), 8),
        ((6, 2, 4), (1, 2), 8),
    ],
)
def test_unit_masks_give_every_unit_the_same_fan_in(shape, unit_axes, units):
    count = 3 * units
    mask = masks.random_unit_mask(shape, count, key=5, unit_axes=unit_axes)
    rows = masks.unit_rows(mask, unit_axes)
    assert mask.shape == shape
    assert rows.shape[0] == units
    assert (rows.sum(axis=1) == 3).all()
    assert (masks.from_unit_rows(rows, shape, unit_axes) == mask).all()


def test_top_k_of_units_is_top_k_of_each(rng):
    scores = rng.normal(size=(6, 3))
    mask = masks.top_k_unit_mask(scores, 6)
    for unit in range(3):
        assert (mask[:, unit] == masks.top_k_mask(scores[:, unit], 2)).all()


def test_top_k_of_units_chooses_among_the_eligible_only(rng):
    eligible = np.ones((4, 2), bool)
    eligible[:2, 0] = False
    mask = masks.top_k_unit_mask(rng.normal(size=(4, 2)), 4, eligible)
    assert (mask[:, 0] == eligible[:, 0]).all()
    with pytest.raises(ValueError, match=r"unit 0 has 2 and would keep 3"):
        masks.top_k_unit_mask(rng.normal(size=(4, 2)), 6, eligible)


def test_candidate_scores_rank_as_random_masks():
    scores = masks.candidate_scores((20, 30), key=9)
    assert (masks.top_k_mask(scores, 77) == masks.random_mask((20, 30), 77, 9)).all()


def test_unit_masks_are_exact_where_units_do_not_divide_the_count():
    mask = masks.random_unit_mask((9, 4), 10, key=5)
    assert mask.sum(axis=0).tolist() == [3, 3, 2, 2]
