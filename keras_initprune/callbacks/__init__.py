"""Keras callbacks that make a network sparse while it trains."""

from keras_initprune.callbacks.combination import Combination
from keras_initprune.callbacks.dissipating_gradients import DissipatingGradients
from keras_initprune.callbacks.drop_and_grow import SET, RigL
from keras_initprune.callbacks.granet import GraNet
from keras_initprune.callbacks.k_starts import KStarts
from keras_initprune.callbacks.magnitude import GradualMagnitude, OneShotMagnitude
from keras_initprune.callbacks.random_pruning import RandomPruning

__all__ = [
    "SET",
    "Combination",
    "DissipatingGradients",
    "GraNet",
    "GradualMagnitude",
    "KStarts",
    "OneShotMagnitude",
    "RandomPruning",
    "RigL",
]
