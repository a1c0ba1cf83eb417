"""The names of Keras that are not public, all in one place."""

from keras.src.layers.rnn.conv_lstm import ConvLSTMCell
from keras.src.trainers import data_adapters
from keras.src.trainers.compile_utils import CompileLoss

__all__ = ["CompileLoss", "ConvLSTMCell", "data_adapters"]
