"""Whatever comes in, there is a clear error or a right answer."""

import math

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from keras_initprune import (
    DissipatingGradients,
    KStarts,
    RandomPruning,
    get_masks,
    install_masks,
    set_masks,
)
from keras_initprune.arrays.distributions import allocate
from keras_initprune.arrays.selection import SELECTIONS, k_starts_masks
from keras_initprune.constraints.weights import prunable_weights

# Tests draw from one model, which they leave as it was.
shared = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["erk", "magnitude", "movement", "recombine", "global", "unit"]),
    st.lists(st.floats(0, 1), max_size=2),
    st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
)


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_sparsity(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and not math.isnan(value) and 0 <= value < 1


@shared
@given(
    values=st.dictionaries(
        st.sampled_from(["k", "sparsity", "epochs", "fitness", "selection", "seed"]),
        anything,
        max_size=3,
    )
)
def test_k_starts_takes_what_is_valid_and_nothing_else(values):
    valid = {
        "k": is_count,
        "sparsity": is_sparsity,
        "epochs": is_count,
        "fitness": lambda value: value == "magnitude",
        "selection": lambda value: value in ("recombine", "unit"),
        "seed": lambda value: (
            value is None
            or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
        ),
    }
    if all(valid[name](value) for name, value in values.items()):
        callback = KStarts(**values)
        for name, value in values.items():
            assert getattr(callback, name) == value
    else:
        with pytest.raises((ValueError, TypeError), match="Received: "):
            KStarts(**values)


@shared
@given(sparsity=anything, fraction=anything, epochs=anything)
def test_dissipating_takes_what_is_valid_and_nothing_else(sparsity, fraction, epochs):
    one_given = (sparsity is None) != (fraction is None)
    good = is_sparsity(sparsity) if fraction is None else False
    if sparsity is None and isinstance(fraction, int | float):
        good = not isinstance(fraction, bool) and 0 < fraction <= 1
    if one_given and good and is_count(epochs):
        callback = DissipatingGradients(sparsity, fraction, epochs)
        assert (callback.sparsity, callback.fraction) == (sparsity, fraction)
    else:
        with pytest.raises((ValueError, TypeError), match="Received: "):
            DissipatingGradients(sparsity, fraction, epochs)


@shared
@given(distribution=anything)
def test_distributions(distribution):
    is_dictionary = isinstance(distribution, dict) and all(
        is_sparsity(value) for value in distribution.values()
    )
    if distribution == "erk" or (is_dictionary and distribution):
        assert RandomPruning(0.5, distribution).distribution == distribution
    elif distribution != {}:
        with pytest.raises((ValueError, TypeError), match="Received: "):
            RandomPruning(0.5, distribution)


@shared
@given(
    numbers=arrays.arrays(
        dtype=np.int8,
        shape=st.one_of(st.just((3, 2)), arrays.array_shapes(max_dims=3, max_side=4)),
        elements=st.sampled_from([0, 1, 1, 2]),
    ),
    dtype=st.sampled_from(["bool", "uint8", "int64", "float16", "float32", "float64"]),
)
def test_masks_are_taken_as_they_are_or_refused(numbers, dtype):
    mask = numbers.astype(dtype)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])
    install_masks(model)
    if mask.shape == (3, 2) and np.isin(mask, (0, 1)).all() and mask.any():
        set_masks(model, {"d/kernel": mask})
        assert (get_masks(model)["d/kernel"] == mask.astype(bool)).all()
        assert (model.get_weights()[0][mask == 0] == 0).all()
    else:
        with pytest.raises(ValueError, match="Received: "):
            set_masks(model, {"d/kernel": mask})
        assert get_masks(model)["d/kernel"].all()


@shared
@given(
    shapes=st.lists(arrays.array_shapes(max_dims=4, max_side=9), min_size=1),
    k=st.integers(1, 5),
    p=st.floats(0, 0.99),
    selection=st.sampled_from(sorted(SELECTIONS)),
    seed=st.integers(0, 2**63 - 1),
)
def test_selected_masks_have_exactly_their_size(shapes, k, p, selection, seed):
    rng = np.random.default_rng(0)
    fitness = {f"t{i}": rng.random(shape) for i, shape in enumerate(shapes)}
    masks, error = attempt(k_starts_masks, fitness, k, p, selection, "uniform", seed)
    if error:
        assert "would be removed" in error or "Received: " in error
        return
    counts = allocate({path: f.shape for path, f in fitness.items()}, p, "uniform")
    again = k_starts_masks(fitness, k, p, selection, "uniform", seed)
    for path, mask in masks.items():
        assert (mask == again[path]).all()
        assert mask.sum() == counts[path]
        if selection == "unit":
            fan_in = [int(unit.sum()) for unit in np.moveaxis(mask, -1, 0)]
            assert max(fan_in) - min(fan_in) <= 1


def attempt(function, *arguments):
    """Return what a function returns, and None or the text of its error."""
    try:
        return function(*arguments), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


@pytest.fixture
def saved(make_model, rng, tmp_path):
    """Return a sparse model with the bytes of its two kinds of file."""
    model = install_masks(make_model(compiled=False))
    set_masks(
        model, {p: rng.random(m.shape) < 0.4 for p, m in get_masks(model).items()}
    )
    content = {}
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    for path in tmp_path.iterdir():
        content[path.name] = path.read_bytes()
    return model, content


@shared
@given(data=st.data())
@pytest.mark.parametrize("kind", ["flipped", "truncated"])
def test_damaged_models_are_refused_or_intact(kind, saved, tmp_path_factory, data):
    model, content = saved
    whole = content["model.keras"]
    path = tmp_path_factory.mktemp("damaged") / "model.keras"
    path.write_bytes(damage(whole, kind, data))
    loaded, error = attempt(keras.models.load_model, path)
    if error:
        return
    for first, second in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@shared
@given(data=st.data())
@pytest.mark.parametrize("kind", ["flipped", "truncated"])
def test_damaged_weights_bring_no_other_masks(
    kind, saved, make_model, tmp_path_factory, data
):
    model, content = saved
    path = tmp_path_factory.mktemp("damaged") / "model.weights.h5"
    path.write_bytes(damage(content["model.weights.h5"], kind, data))
    loaded = install_masks(make_model(compiled=False))
    _, error = attempt(loaded.load_weights, path)
    if error:
        return
    expected, masks = get_masks(model), get_masks(loaded)
    for name, weight in prunable_weights(loaded).items():
        assert (masks[name] == expected[name]).all()
        assert (weight.numpy()[~masks[name]] == 0).all()


def damage(content, kind, data):
    position = data.draw(st.integers(0, len(content) - 1))
    if kind == "truncated":
        return content[:position]
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    return bytes(changed)
