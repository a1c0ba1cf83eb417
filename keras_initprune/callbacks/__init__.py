"""Keras callbacks that make a network sparse while it trains."""

from keras_initprune.callbacks.baselines import (
    GradualMagnitude,
    OneShotMagnitude,
    RandomPruning,
)
from keras_initprune.callbacks.combination import Combination
from keras_initprune.callbacks.dissipating_gradients import DissipatingGradients
from keras_initprune.callbacks.drop_and_grow import SET, GraNet, RigL
from keras_initprune.callbacks.k_starts import KStarts

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
