"""The names of Keras that are not public, all in one place."""

import contextlib
from collections.abc import Iterator

from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell
from keras.src.saving import saving_lib
from keras.src.trainers import data_adapters
from keras.src.trainers.compile_utils import CompileLoss

__all__ = [
    "CompileLoss",
    "ConvLSTMCell",
    "data_adapters",
    "in_stateless_scope",
    "saving_lib",
    "wide_types",
]


@contextlib.contextmanager
def wide_types() -> Iterator[None]:
    """Have `keras.ops` leave float64 as it is, as TensorFlow's always do."""
    before = BIT64_TO_BIT32_DTYPE["float64"]
    BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        yield
    finally:
        BIT64_TO_BIT32_DTYPE["float64"] = before
