"""Which cells of a matrix the default run tests; `-m whole_matrix` tests the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def cells(all_of_them: Iterable[Any], by_default: Collection[Any]) -> list[Any]:
    """Return parameters of a test, of one value each or of a tuple of values."""
    return [
        pytest.param(
            *(cell if isinstance(cell, tuple) else (cell,)),
            marks=[] if cell in by_default else pytest.mark.whole_matrix,
        )
        for cell in all_of_them
    ]
