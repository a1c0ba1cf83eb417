"""Examples of every class alike, for the criteria that learn from a few."""

import keras
import numpy as np
import pytest

from keras_initprune import class_balanced, score_weights

# Sorted by class, as arrays often are, and the classes are of unlike size.
LABELS = np.repeat([0, 2, 5], [4, 10, 6])
X = np.stack([np.arange(20), LABELS], axis=1).astype("float32")


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
def test_as_many_of_every_class_each_once_with_its_target(dtype):
    x, y = class_balanced(X, LABELS.astype(dtype), per_class=3, seed=1)
    assert y.dtype == dtype
    assert np.unique_counts(y).counts.tolist() == [3, 3, 3]
    assert len(set(x[:, 0])) == 9
    np.testing.assert_array_equal(x[:, 1], y)
    # The first batch of them holds more than one class.
    assert len(set(y[:3])) > 1


def test_targets_keep_their_form():
    column = class_balanced(X, LABELS[:, None], 4, seed=0)[1]
    assert column.shape == (12, 1)
    one_hot = np.eye(3)[np.unique(LABELS, return_inverse=True)[1]]
    x, y = class_balanced(X, one_hot, 4, seed=0)
    np.testing.assert_array_equal(y.sum(axis=0), [4, 4, 4])
    np.testing.assert_array_equal(np.array([0, 2, 5])[y.argmax(axis=1)], x[:, 1])
    # The same examples in each form.
    np.testing.assert_array_equal(column[:, 0], x[:, 1])


def test_a_structure_of_inputs():
    x, y = class_balanced({"a": X, "b": [X[:, 1]]}, LABELS, 2, seed=0)
    np.testing.assert_array_equal(x["a"][:, 1], y)
    np.testing.assert_array_equal(x["b"][0], y)


def test_the_seed_decides():
    def drawn(seed):
        return class_balanced(X, LABELS, 2, seed)[0][:, 0].tolist()

    assert drawn(3) == drawn(3)
    assert len({tuple(drawn(seed)) for seed in range(9)}) > 1
    for _ in range(2):
        keras.utils.set_random_seed(4)
        first = drawn(None)
        assert drawn(None) != first
    keras.utils.set_random_seed(4)
    assert drawn(None) == first


def test_what_it_returns_is_data():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = class_balanced(X, LABELS, 3, seed=0)
    for score in score_weights(model, "snip", data).values():
        assert score.any()


def test_classes_that_are_too_small_are_named():
    with pytest.raises(ValueError, match=r"per_class=7.* by class: \{0: 4, 5: 6\}"):
        class_balanced(X, LABELS, per_class=7)
    # One-hot targets tell of classes that have no example.
    with pytest.raises(ValueError, match=r"by class: \{1: 0\}"):
        class_balanced(X[:2], np.eye(3)[[0, 2]], per_class=1)


@pytest.mark.parametrize(
    "y",
    [
        LABELS + 0.5,
        np.full(20, np.nan),
        np.full(20, np.inf),
        np.array(list("abcdefghijklmnopqrst")),
        np.ones((20, 3)),
        np.full((20, 2), 0.5),
        np.zeros((20, 2, 2)),
        LABELS.tolist(),
        np.zeros(0, int),
    ],
)
def test_targets_that_are_no_classes_are_refused(y):
    with pytest.raises(ValueError, match=r"`y` must be .*Received: y="):
        class_balanced(X, y)


@pytest.mark.parametrize("x", [[], None, [1, 2], np.float32(1), "abc"])
def test_inputs_that_are_no_arrays_are_refused(x):
    with pytest.raises(ValueError, match=r"`x` must be .*Received: x="):
        class_balanced(x, LABELS)


def test_every_input_has_a_target():
    with pytest.raises(ValueError, match=r"`x` and `y` must .*\[19, 20\] in x, 20 in"):
        class_balanced([X, X[1:]], LABELS)
