import keras
import numpy as np
import pytest

from keras_initprune import pruning_masks
from keras_initprune.arrays import patterns
from keras_initprune.arrays.patterns import Tensor
from keras_initprune.constraints.weights import prunable_weights


def tensor(rng, shape, unit_axes=(-1,)):
    return Tensor(rng.normal(size=shape), np.ones(shape, bool), unit_axes)


def test_names_of_patterns():
    assert type(patterns.get(None)) is patterns.Pattern
    assert patterns.get("unit") == patterns.Units()
    assert patterns.get("units") == patterns.WholeUnits()
    assert patterns.get("4:8") == patterns.NOfM(4, 8)
    assert patterns.get([8, 1]) == patterns.Blocks(8, 1)
    assert patterns.get(patterns.Units()) == patterns.Units()


@pytest.mark.parametrize(
    "bad", ["2-4", "0:4", "4:4", "5:4", (4,), (0, 4), (2.0, 4), 4, "blocks", (1, 2, 3)]
)
def test_other_patterns_are_refused(bad):
    with pytest.raises(ValueError, match=r"`pattern` must .*Received: pattern="):
        patterns.get(bad)


# Units


@pytest.mark.parametrize("unit_axes", [(-1,), (-2,), (-2, -1)])
def test_every_unit_keeps_its_best_weights(rng, unit_axes):
    found = tensor(rng, (3, 3, 4, 6), unit_axes)
    mask = patterns.Units().masks({"a": found}, 72)["a"]
    rest = tuple(axis for axis in range(4) if axis - 4 not in unit_axes)
    fan_in = mask.sum(axis=rest)
    assert (fan_in == 72 / fan_in.size).all()
    kept = np.where(mask, found.scores, np.inf).min(axis=rest)
    removed = np.where(mask, -np.inf, found.scores).max(axis=rest)
    assert (kept > removed).all()


def test_units_of_competing_tensors_get_the_count_of_the_free_ranking(rng):
    tensors = {"a": tensor(rng, (8, 4)), "b": tensor(rng, (6, 2))}
    tensors["b"].scores[...] += 10
    masks = patterns.Units().masks(tensors, 20)
    assert masks["b"].all()
    assert masks["a"].sum(axis=0).tolist() == [2, 2, 2, 2]


def test_a_unit_without_enough_weights_left_is_named(rng):
    found = tensor(rng, (4, 3))
    found.eligible[1:, 2] = False
    with pytest.raises(ValueError, match=r"'a' cannot get a constant fan-in.* unit 2"):
        patterns.Units().masks({"a": found}, 6)


# Whole units


@pytest.mark.parametrize("unit_axes", [(-1,), (-2,)])
def test_units_are_kept_whole_by_their_mean(rng, unit_axes):
    found = tensor(rng, (3, 3, 4, 6), unit_axes)
    size = found.scores.size
    mask = patterns.WholeUnits().masks({"a": found}, size // 2)["a"]
    rest = tuple(axis for axis in range(4) if axis - 4 not in unit_axes)
    kept = mask.all(axis=rest)
    assert (kept == mask.any(axis=rest)).all()
    assert mask.sum() == size // 2
    means = found.scores.mean(axis=rest)
    assert means[kept].min() > means[~kept].max()


def test_tied_tensors_lose_the_same_units(rng):
    tensors = {
        path: patterns.Tensor(rng.normal(size=shape), np.ones(shape, bool), tie="t")
        for path, shape in {"a": (2, 6), "b": (3, 3, 4, 6)}.items()
    }
    masks = patterns.WholeUnits().masks(tensors, 38 * 2)
    kept = masks["a"].all(axis=0)
    assert kept.sum() == 2
    assert (masks["b"] == kept).all()
    total = sum(t.scores.reshape(-1, 6).sum(axis=0) for t in tensors.values())
    assert total[kept].min() > total[~kept].max()


def test_units_of_unlike_size_compete_by_their_mean():
    small, large = np.full((2, 2), 3.0), np.full((8, 2), 1.0)
    tensors = {
        "small": Tensor(small, np.ones((2, 2), bool)),
        "large": Tensor(large, np.ones((8, 2), bool)),
    }
    masks = patterns.WholeUnits().masks(tensors, 12)
    assert masks["small"].all()
    assert masks["large"].sum(axis=0).tolist() == [8, 0]


def test_every_tensor_keeps_a_unit_and_none_comes_back(rng):
    found = tensor(rng, (4, 3))
    found.eligible[:, 0] = False
    found.scores[:, 0] = 9
    for count, units in ((1, 1), (8, 2), (12, 2)):
        mask = patterns.WholeUnits().masks({"a": found}, count)["a"]
        assert mask.all(axis=0).sum() == units
        assert not mask[:, 0].any()


def test_tied_tensors_of_unlike_units_are_refused(rng):
    tensors = {
        path: patterns.Tensor(np.ones((2, n)), np.ones((2, n), bool), tie="t")
        for path, n in {"a": 3, "b": 4}.items()
    }
    with pytest.raises(ValueError, match=r"share their units.*\('a', 'b'\).*\[3, 4\]"):
        patterns.WholeUnits().masks(tensors, 6)


# N:M


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4)])
@pytest.mark.parametrize(
    ("shape", "unit_axes", "input_axis"),
    [((16, 5), (-1,), 0), ((3, 3, 8, 5), (-1,), 2), ((3, 3, 5, 8), (-2,), 3)],
)
def test_n_of_m_keeps_the_best_n_of_m_inputs(rng, n, m, shape, unit_axes, input_axis):
    found = tensor(rng, shape, unit_axes)
    mask = patterns.NOfM(n, m).masks({"a": found}, found.scores.size * n // m)["a"]
    # Consecutive inputs of one unit: (..., groups, m).
    groups = [
        np.moveaxis(array, input_axis, -1).reshape(-1, m)
        for array in (mask, found.scores)
    ]
    assert (groups[0].sum(axis=1) == n).all()
    kept = np.where(groups[0], groups[1], np.inf).min(axis=1)
    removed = np.where(groups[0], -np.inf, groups[1]).max(axis=1)
    assert (kept > removed).all()


def test_n_of_m_never_brings_back_what_is_gone(rng):
    found = tensor(rng, (8, 2))
    found.eligible[:3, 0] = False
    mask = patterns.NOfM(2, 4).masks({"a": found}, 8)["a"]
    assert not (mask & ~found.eligible).any()
    assert mask.sum(axis=0).tolist() == [3, 4]


def best_of_groups(scores, n, m, axis):
    """Keep n of every m, group by group, as one would by hand."""
    mask = np.zeros(scores.shape, bool)
    for line, kept in zip(
        np.moveaxis(scores, axis, -1).reshape(-1, scores.shape[axis]),
        np.ndindex(*np.delete(scores.shape, axis)),
        strict=True,
    ):
        for start in range(0, line.size, m):
            for best in sorted(range(start, start + m), key=lambda at: -line[at])[:n]:
                index = list(kept)
                index.insert(axis % scores.ndim, best)
                mask[tuple(index)] = True
    return mask


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("shape", [(12, 8), (3, 3, 12, 8)], ids=["dense", "conv"])
def test_n_of_m_lies_along_the_axis_that_is_asked_for(axis, shape, rng):
    layers = keras.layers
    layer = layers.Dense(8) if len(shape) == 2 else layers.Conv2D(8, 3)
    model = keras.Sequential([keras.Input((5, 5, 12)), layer])
    scores = rng.normal(size=shape).astype("float32")
    layer.kernel.assign(scores)
    pattern = patterns.NOfM(1, 4, axis=axis)
    (mask,) = pruning_masks(model, "magnitude", pattern=pattern).values()
    np.testing.assert_array_equal(mask, best_of_groups(np.abs(scores), 1, 4, axis))


def test_n_of_m_without_an_axis_lies_along_the_inputs(rng):
    for shape, unit_axes, axis in [((8, 4), (-1,), 0), ((3, 4, 8), (-2,), 2)]:
        found = {"a": tensor(rng, shape, unit_axes)}
        free, chosen = (
            patterns.NOfM(2, 4, axis).masks(found, found["a"].scores.size // 2)["a"]
            for axis in (None, axis)
        )
        np.testing.assert_array_equal(free, chosen)


def test_n_of_m_needs_an_axis_that_is_there_and_divides():
    # 6 inputs do not divide by 4, and 8 outputs do.
    patterns.NOfM(2, 4, axis=-1).check("a/kernel", (6, 8), (-1,))
    for axis, message in [(0, "axis 0 of 'a/kernel' does not"), (2, "lacks axis 2")]:
        with pytest.raises(ValueError, match=message):
            patterns.NOfM(2, 4, axis).check("a/kernel", (6, 8), (-1,))
    # Without outputs of its own, which only the default asks for.
    patterns.NOfM(2, 4, axis=0).check("scale/kernel", (8,), ())


@pytest.mark.parametrize("axis", ["inputs", 1.0, True])
def test_n_of_m_refuses_an_axis_that_is_no_integer(axis):
    with pytest.raises(ValueError, match=r"`axis` must be .*Received: axis="):
        patterns.NOfM(2, 4, axis)


# Blocks


def test_blocks_are_kept_whole_by_their_sum(rng):
    found = tensor(rng, (6, 8))
    mask = patterns.Blocks(3, 2).masks({"a": found}, 18)["a"]
    kept = mask.reshape(2, 3, 4, 2).sum(axis=(1, 3))
    sums = found.scores.reshape(2, 3, 4, 2).sum(axis=(1, 3))
    assert sorted(np.unique(kept)) == [0, 6]
    assert mask.sum() == 18
    assert sums[kept > 0].min() > sums[kept == 0].max()


def test_blocks_of_a_convolution_lie_in_channels_and_filters(rng):
    found = tensor(rng, (3, 3, 4, 6))
    mask = patterns.Blocks(2, 3).masks({"a": found}, 36)["a"]
    assert mask.sum() == 36
    blocks = mask.reshape(3, 3, 2, 2, 2, 3)
    assert (blocks.all(axis=(3, 5)) == blocks.any(axis=(3, 5))).all()


def test_blocks_of_a_transposed_convolution_know_their_inputs(rng):
    mask = patterns.Blocks(4, 1).masks({"a": tensor(rng, (2, 3, 4), (-2,))}, 8)["a"]
    assert (mask.all(axis=2) == mask.any(axis=2)).all()


def test_blocks_of_tensors_compete(rng):
    tensors = {"a": tensor(rng, (4, 4)), "b": tensor(rng, (4, 2))}
    tensors["b"].scores[...] += 10
    masks = patterns.Blocks(2, 2).masks(tensors, 12)
    assert masks["b"].all()
    assert masks["a"].sum() == 4


# What does not fit


@pytest.mark.parametrize("pattern", ["2:4", (4, 4)])
def test_dimensions_that_do_not_divide_are_named(pattern):
    with pytest.raises(ValueError, match=r"'conv/kernel'.*shape \(3, 3, 3, 8\)"):
        patterns.get(pattern).check("conv/kernel", (3, 3, 3, 8), (-1,))


@pytest.mark.parametrize("pattern", ["2:4", (4, 4)])
def test_kernels_without_outputs_of_their_own_are_named(pattern):
    with pytest.raises(ValueError, match="'scale/kernel' lacks one"):
        patterns.get(pattern).check("scale/kernel", (8,), ())


def test_attention_has_its_groups_along_the_inputs():
    inputs = keras.Input((6, 8))
    x = keras.layers.MultiHeadAttention(2, 4, name="attend")(inputs, inputs)
    for path, weight in prunable_weights(keras.Model(inputs, x)).items():
        patterns.get("2:4").check(path, weight.shape, weight.unit_axes)
