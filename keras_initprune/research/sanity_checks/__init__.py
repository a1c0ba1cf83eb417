"""Sanity checks: what of a pruning method would also work without its idea.

Every function takes masks, scores, a model or data, and a seed, and returns what the
control experiment trains with.

References:
    - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
      missing the mark?" (arXiv 2009.08576)
    - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
      jackpot" (arXiv 2009.11094)
"""

from keras_initprune.research.sanity_checks.data import corrupt_labels, corrupt_pixels
from keras_initprune.research.sanity_checks.degrees import shuffle_preserving_degrees
from keras_initprune.research.sanity_checks.reinitialisation import reinitialise
from keras_initprune.research.sanity_checks.scores import inverted_masks, random_fitness
from keras_initprune.research.sanity_checks.shuffling import shuffle_layerwise

__all__ = [
    "corrupt_labels",
    "corrupt_pixels",
    "inverted_masks",
    "random_fitness",
    "reinitialise",
    "shuffle_layerwise",
    "shuffle_preserving_degrees",
]
