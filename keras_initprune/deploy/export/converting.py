"""What writing a file with somebody else's converter takes."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune.quiet import quiet_exports

_TOLERANCE = 1e-4


@contextlib.contextmanager
def converting(model: keras.Model, target: str) -> Iterator[None]:
    """Say in one sentence why a model cannot be converted.

    Raises:
        ValueError: If the converter raises, which it does with whatever its passes
            happen to raise.
    """
    try:
        with quiet_exports():
            yield
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{target} cannot convert the model {model.name!r}: {reason}"
        ) from error


def arrays_of(structure: Any) -> list[NDArray]:
    """Return the tensors of a structure as arrays, in Keras' order."""
    return [
        keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(structure)
    ]


def close(found: Sequence[NDArray], expected: Sequence[NDArray]) -> bool:
    """Return whether outputs are those of the model, up to rounding."""
    return len(found) == len(expected) and all(map(_close, found, expected))


def _close(found: NDArray, expected: NDArray) -> bool:
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    return found.shape == expected.shape and bool(
        (np.abs(found - expected) <= _TOLERANCE * scale).all()
    )
