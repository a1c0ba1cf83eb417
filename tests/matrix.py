"""Which cells of a matrix the default run tests; `-m whole_matrix` tests the others."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest


def cells(
    rows: Mapping[str, Any] | Iterable[Any], by_default: Collection[Any]
) -> list[Any]:
    """Return parameters of a test: values, tuples of them, or a mapping's, by name."""
    is_named = isinstance(rows, Mapping)
    return [
        pytest.param(
            *(row if isinstance(row, tuple) else (row,)),
            id=key if is_named else None,
            marks=[] if key in by_default else pytest.mark.whole_matrix,
        )
        for key, row in (rows.items() if is_named else ((row, row) for row in rows))
    ]
