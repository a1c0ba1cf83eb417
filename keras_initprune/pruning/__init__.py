"""Pruning before training, as a function."""

from keras_initprune.pruning.problems import score_weights
from keras_initprune.pruning.prune import prune, pruning_masks

__all__ = ["prune", "pruning_masks", "score_weights"]
