"""Small image data sets as arrays in memory, and a pipeline that batches them."""

from keras_initprune.lab.datasets.images import prepare
from keras_initprune.lab.datasets.loading import Dataset, load, pipeline

__all__ = ["Dataset", "load", "pipeline", "prepare"]
