"""Control experiments: what of a method's result do its masks not explain?

In every one of them the method only finds masks, in the epochs that it takes. Then a
network trains from its initial weights with these masks, changed or not, for as many
epochs as any other run.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.arrays.masks import Mask
from keras_initprune.arrays.ranking import rank_masks
from keras_initprune.arrays.selection import k_starts_masks
from keras_initprune.criteria.dissipation import movement
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.research import sanity_checks

# Trains a model on inputs and targets in the epochs of the selection.
Fit = Callable[[keras.Model, list[Any], Any, Any], None]

_CORRUPTIONS: dict[str, Callable[[Any, Any, int], tuple[Any, Any]]] = {
    "corrupt_labels": lambda x, y, seed: (
        x,
        sanity_checks.corrupt_labels(y, 1.0, seed),
    ),
    "corrupt_pixels": lambda x, y, seed: (sanity_checks.corrupt_pixels(x, seed), y),
}


def control_masks(
    run: Configuration,
    model: keras.Model,
    callbacks: list[Any],
    x: np.ndarray,
    y: np.ndarray,
    fit: Fit,
) -> dict[str, Mask]:
    """Return the masks that the network of a control experiment trains with.

    Args:
        run: The configuration, with a `control`.
        model: A compiled, untrained model, which is trained to find the masks.
        callbacks: What prunes it.
        x: Training inputs.
        y: Training targets.
        fit: Trains a model for the epochs in which the method finds its masks.

    Returns:
        From tensor path to mask.
    """
    assert run.control is not None
    if run.control in ("inverted", "random_fitness"):
        return _without_method(run, model, x, y, fit)
    corrupt = _CORRUPTIONS.get(run.control, lambda x, y, seed: (x, y))
    fit(model, callbacks, *corrupt(x, y, run.seed))
    masks = constraints.get_masks(model)
    if run.control == "shuffled":
        return sanity_checks.shuffle_layerwise(masks, run.seed)
    if run.control == "degrees_shuffled":
        return sanity_checks.shuffle_preserving_degrees(masks, run.seed, model)
    return masks


def _without_method(
    run: Configuration, model: keras.Model, x: Any, y: Any, fit: Fit
) -> dict[str, Mask]:
    """Return what moved least in dense epochs, or the fittest by random numbers."""
    constraints.install_masks(model)
    weights = constraints.masked_weights(model)
    initial = {path: weight.numpy() for path, weight in weights.items()}
    if run.control == "random_fitness":
        fitness = sanity_checks.random_fitness(initial, run.seed)
        distribution = run.distribution or "erk"
        return k_starts_masks(
            fitness, run.k, run.sparsity, "recombine", distribution, run.seed
        )
    fit(model, [], x, y)
    moved = movement({p: w.numpy() for p, w in weights.items()}, initial, {})
    best = rank_masks(
        moved, run.sparsity, run.distribution or "erk", constraints.get_masks(model)
    )
    return sanity_checks.inverted_masks(best, moved)
