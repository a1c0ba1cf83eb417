"""The same seed, weights and data give the same masks on every backend."""

import json

import pytest
import reference

WRITTEN = json.loads(reference.FILE.read_text())

same = pytest.mark.backends("The same masks from the same seed, weights and data")


def test_the_file_has_all_methods():
    assert list(WRITTEN) == [*reference.CRITERIA, *reference.CALLBACKS]


@same
@pytest.mark.backends("Every criterion of `prune`")
@pytest.mark.parametrize("name", reference.CRITERIA)
def test_criteria_meet_the_reference(name):
    assert reference.to_text(reference.criterion_masks(name)) == WRITTEN[name]


@same
@pytest.mark.backends("Every callback")
@pytest.mark.parametrize("name", reference.CALLBACKS)
def test_callbacks_meet_the_reference(name):
    assert reference.to_text(reference.callback_masks(name)) == WRITTEN[name]
