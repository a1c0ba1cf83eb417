"""Control experiments: what of a method's result do its masks not explain?

In most of them the method only finds masks, in the epochs that it takes. Then a network
trains from its initial weights with these masks, changed or not, for as many epochs as
any other run. And a small dense network has as many parameters as a sparse one.
"""

import bisect
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.arrays.masks import Mask
from keras_initprune.arrays.ranking import rank_masks
from keras_initprune.arrays.selection import k_starts_masks
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.criteria.dissipation import movement
from keras_initprune.lab import models
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.research import sanity_checks

# Trains a model on inputs and targets in the epochs of the selection.
Fit = Callable[[keras.Model, list[Any], Any, Any], None]


def control_masks(
    run: Configuration,
    model: keras.Model,
    callbacks: list[Any],
    x: np.ndarray,
    y: np.ndarray,
    fit: Fit,
) -> dict[str, Mask]:
    """Return the masks that the network of a control experiment trains with."""
    assert run.control is not None
    if run.control in ("inverted", "random_fitness"):
        return _without_method(run, model, x, y, fit)
    if run.control == "corrupt_labels":
        y = sanity_checks.corrupt_labels(y, 1.0, run.seed)
    if run.control == "corrupt_pixels":
        x = sanity_checks.corrupt_pixels(x, run.seed)
    fit(model, callbacks, x, y)
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
    sparsity, distribution = run.sparsity, run.distribution or "erk"
    if run.control == "random_fitness":
        fitness = sanity_checks.random_fitness(initial, run.seed)
        return k_starts_masks(
            fitness, run.k, sparsity, "recombine", distribution, run.seed
        )
    fit(model, [], x, y)
    moved = movement({p: w.numpy() for p, w in weights.items()}, initial, {})
    best = rank_masks(moved, sparsity, distribution, constraints.get_masks(model))
    return sanity_checks.inverted_masks(best, moved)


_WIDTHS = ("width", "hidden_units", "bottleneck_units", "filters")
_STEPS = 256  # Widths are tried in fractions of the whole.


def small_widths(
    model: str, sparsity: float, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the widths of the widest dense network that has no more parameters.

    All layers shrink by the same factor, but none becomes narrower than the narrowest
    of the whole network as long as the widest is not: that would be a bottleneck that
    the whole network does not have.

    Example:
        >>> small_widths("autoencoder", 0.95, {"input_shape": (28, 28, 1)})
        {'hidden_units': (13, 13), 'bottleneck_units': 13}
    """
    build = models.get(model)
    parameters = inspect.signature(build).parameters
    whole = {name: parameters[name].default for name in _WIDTHS if name in parameters}
    narrowest = min(_flat(whole.values()), default=1)

    def widths(step: int) -> dict[str, Any]:
        factor = step / _STEPS
        floor = max(1, min(narrowest, int(factor * max(_flat(whole.values())))))
        return {name: _scaled(value, factor, floor) for name, value in whole.items()}

    def size(step: int) -> int:
        return build(**arguments, **widths(step)).count_params()

    network = build(**arguments)
    prunable = sum(weight.size for weight in prunable_weights(network).values())
    allowed = network.count_params() - sparsity * prunable
    fitting = bisect.bisect_right(range(1, _STEPS + 1), allowed, key=size)
    return widths(max(fitting, 1))


def _flat(values: Iterable[Any]) -> list[int]:
    return [int(width) for value in values for width in np.atleast_1d(value)]


def _scaled(widths: Any, factor: float, floor: int) -> Any:
    if isinstance(widths, int):
        return max(floor, int(widths * factor))
    return tuple(max(floor, int(width * factor)) for width in widths)
