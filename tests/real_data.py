"""Marks tests that need the real IDX files."""

import os

import pytest

DATA_DIR = os.environ.get("KERAS_INITPRUNE_DATA")


def real_data(test):
    """Mark a test that needs the real IDX files, in `DATA_DIR`."""
    skip = pytest.mark.skipif(not DATA_DIR, reason="KERAS_INITPRUNE_DATA is not set")
    return pytest.mark.real_data(skip(test))
