"""Small image data sets as arrays in memory, and a pipeline that batches them."""

from keras_initprune.datasets.batches import pipeline
from keras_initprune.datasets.dataset import Dataset
from keras_initprune.datasets.images import prepare
from keras_initprune.datasets.loading import load

__all__ = ["Dataset", "load", "pipeline", "prepare"]
