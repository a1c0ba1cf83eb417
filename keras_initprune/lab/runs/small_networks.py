"""Dense networks with as many parameters as a sparse one has left."""

import bisect
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.lab import models

_WIDTHS = ("hidden_units", "bottleneck_units", "filters")
_STEPS = 256  # Widths are tried in fractions of the whole.


def small_widths(
    model: str, sparsity: float, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the widths of the widest dense network that has no more parameters.

    All layers shrink by the same factor, but none becomes narrower than the narrowest
    of the whole network as long as the widest is not: that would be a bottleneck that
    the whole network does not have.

    Args:
        model: Name of the model.
        sparsity: Fraction of the prunable weights that the sparse network lacks.
        arguments: The model's other arguments.

    Returns:
        Arguments of the model.

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
