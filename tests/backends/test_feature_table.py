"""The guide's table says what is tested on which backend."""

import feature_table


def test_the_guide_has_the_table_of_the_tests_marks():
    """If it fails: `python tests/backends/feature_table.py`."""
    assert feature_table.table() in feature_table.PAGE.read_text()


def test_marks_are_read():
    found = feature_table.features()
    assert found["Every callback"] == set(feature_table.BACKENDS)
    assert found["`tf.distribute`"] == {"tensorflow"}
