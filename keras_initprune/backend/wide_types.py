"""Float64 in `keras.ops`, which halves it on all backends but TensorFlow."""

import contextlib
from collections.abc import Iterator

from keras_initprune.backend.keras_internals import BIT64_TO_BIT32_DTYPE


@contextlib.contextmanager
def wide_types() -> Iterator[None]:
    """Have Keras let float64 be float64 for a while."""
    before = BIT64_TO_BIT32_DTYPE["float64"]
    BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        yield
    finally:
        BIT64_TO_BIT32_DTYPE["float64"] = before
