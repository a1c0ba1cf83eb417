"""The networks of the experiments: uncompiled, every layer named, seeded."""

from keras_initprune.models.autoencoders import autoencoder
from keras_initprune.models.convnets import convnet
from keras_initprune.models.perceptrons import perceptron
from keras_initprune.models.serialization import get

__all__ = ["autoencoder", "convnet", "get", "perceptron"]
