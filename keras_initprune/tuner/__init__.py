"""KerasTuner searches k and p, for networks that become sparse while they train."""

from keras_initprune.imports import needs

with needs("tuner"):
    from keras_initprune.tuner.hypermodel import PruningHyperModel
    from keras_initprune.tuner.objectives import (
        AccuracyAtSparsity,
        ParetoFront,
        SparsityWithinTolerance,
    )
    from keras_initprune.tuner.results import SearchResults, plot_front
    from keras_initprune.tuner.space import PruningSpace
    from keras_initprune.tuner.tuners import PruningTuner

__all__ = [
    "AccuracyAtSparsity",
    "ParetoFront",
    "PruningHyperModel",
    "PruningSpace",
    "PruningTuner",
    "SearchResults",
    "SparsityWithinTolerance",
    "plot_front",
]
