"""Keras callbacks that make a network sparse while it trains."""

from keras_initprune.callbacks.dissipating_gradients import DissipatingGradients
from keras_initprune.callbacks.k_starts import KStarts
from keras_initprune.callbacks.random_pruning import RandomPruning

__all__ = ["DissipatingGradients", "KStarts", "RandomPruning"]
