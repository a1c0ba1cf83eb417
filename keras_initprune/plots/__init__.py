"""Figures of comparisons, masks and searches, drawn from plain records and arrays.

Every function draws into the axis that it is given, or into a new figure, and returns
the axis. Nothing here touches matplotlib's global state, so the figures come out the
same in scripts, notebooks and tests. `axis.figure.savefig(...)` writes them. Colours
are Okabe and Ito's, which colour-blind readers can tell apart; what differs in colour
differs in marker, line or hatching, too, and a method looks the same in every figure.
"""

from keras_initprune.imports import needs

with needs("plots"):
    from keras_initprune.plots.errors import (
        error_against,
        error_against_density,
        error_against_sparsity,
    )
    from keras_initprune.plots.fitness import candidate_fitness, fitness_against_error
    from keras_initprune.plots.fronts import pareto_front
    from keras_initprune.plots.images import mask_images, pixel_use, reconstructions
    from keras_initprune.plots.intervals import interval_dots
    from keras_initprune.plots.style import PALETTE, Figure, subplots
    from keras_initprune.plots.weights import density_per_layer, weight_movement

__all__ = [
    "PALETTE",
    "Figure",
    "candidate_fitness",
    "density_per_layer",
    "error_against",
    "error_against_density",
    "error_against_sparsity",
    "fitness_against_error",
    "interval_dots",
    "mask_images",
    "pareto_front",
    "pixel_use",
    "reconstructions",
    "subplots",
    "weight_movement",
]
