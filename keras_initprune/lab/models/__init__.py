"""The networks of the experiments: uncompiled, every layer named, seeded."""

from keras_initprune.lab.models.autoencoders import autoencoder
from keras_initprune.lab.models.convnets import convnet
from keras_initprune.lab.models.perceptrons import perceptron
from keras_initprune.lab.models.serialization import get

__all__ = ["autoencoder", "convnet", "get", "perceptron"]
