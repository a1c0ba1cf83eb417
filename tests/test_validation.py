import pytest

from keras_initprune import validation


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, "0.5", None, True, float("nan")])
def test_sparsity_lies_in_zero_to_one(value):
    with pytest.raises(ValueError, match=r"`sparsity` .*\[0, 1\).*Received: sparsity="):
        validation.check_sparsity(value)


@pytest.mark.parametrize("value", [0, 0.0, -1, 1.01, "a", None, float("nan")])
def test_fraction_lies_above_zero_up_to_one(value):
    with pytest.raises(ValueError, match=r"`fraction` .*Received: fraction="):
        validation.check_fraction(value)


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True])
def test_counts_are_positive_integers(value):
    with pytest.raises(ValueError, match=r"`k` must be an integer .*Received: k="):
        validation.check_positive_integer(value, "k")


@pytest.mark.parametrize("value", [-1, 0.5, "1", True])
def test_seeds_are_none_or_natural_numbers(value):
    with pytest.raises(ValueError, match="`seed` must be None or"):
        validation.check_seed(value)


def test_an_unknown_choice_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'layer', 'unit'\. Received: selection="):
        validation.check_choice("row", "selection", ["unit", "layer"])
