"""Keras callbacks that make a network sparse while it trains."""

from keras_initprune.callbacks.dissipating_gradients import DissipatingGradients
from keras_initprune.callbacks.gradual_magnitude import GradualMagnitude
from keras_initprune.callbacks.k_starts import KStarts
from keras_initprune.callbacks.one_shot_magnitude import OneShotMagnitude
from keras_initprune.callbacks.random_pruning import RandomPruning
from keras_initprune.callbacks.rigl import RigL
from keras_initprune.callbacks.set import SET

__all__ = [
    "SET",
    "DissipatingGradients",
    "GradualMagnitude",
    "KStarts",
    "OneShotMagnitude",
    "RandomPruning",
    "RigL",
]
