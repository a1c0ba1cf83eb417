"""The names of Keras that are not public, all in one place."""

from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell
from keras.src.saving import saving_lib
from keras.src.trainers import data_adapters
from keras.src.trainers.compile_utils import CompileLoss

__all__ = [
    "BIT64_TO_BIT32_DTYPE",
    "CompileLoss",
    "ConvLSTMCell",
    "data_adapters",
    "saving_lib",
]
