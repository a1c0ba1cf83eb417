"""What `prune` scores: the weights, their masks, and the data."""

import random
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import constraints, criteria, validation
from keras_initprune.arrays.masks import Masks
from keras_initprune.constraints.layers import Layers, LayerSelector
from keras_initprune.constraints.weights import PrunableWeight, prunable_weights
from keras_initprune.criteria.data import Batch, collect_batches
from keras_initprune.criteria.registry import Method


def score_weights(
    model: keras.Model,
    method: Method,
    data: Any = None,
    *,
    loss: Any = None,
    layers: LayerSelector = None,
    seed: int | None = None,
    batch_size: int = 32,
    steps: int = 32,
) -> dict[str, NDArray]:
    """Return a criterion's scores of a model's weights as they are.

    The arguments are those of `prune`. No other thread may call the model meanwhile.

    Returns:
        A dictionary from tensor path to an array of the tensor's shape. Higher scores
        are kept.

    Raises:
        ValueError: If an argument is invalid.
        FloatingPointError: If a score is NaN or infinite.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.layers[0].kernel.assign([[-3.0], [1.0]]).shape
        TensorShape([2, 1])
        >>> (scores,) = score_weights(model, "synflow").values()
        >>> scores.ravel().tolist()
        [3.0, 1.0]
    """
    criterion = criteria.get(method)
    weights = weights_to_prune(model, layers)
    problem = make_problem(
        model, criterion, weights, data, loss, seed, batch_size, steps
    )
    masks = current_masks(model, weights)
    return checked(criterion.score(problem, masks), problem, criterion)


def weights_to_prune(
    model: keras.Model, layers: LayerSelector
) -> dict[str, PrunableWeight]:
    """Return the trained weights that are asked for, those with masks if none is."""
    weights = prunable_weights(model, layers)
    if Layers.of(layers).is_default:
        weights = constraints.masked_weights(model) or weights
    trained = {path: w for path, w in weights.items() if w.variable.trainable}
    if not trained:
        raise ValueError(
            f"All weights of {model.name!r} that `prune` could remove are frozen. Set "
            "`trainable = True` on some layer, or choose others with `layers`."
        )
    return trained


def current_masks(model: keras.Model, weights: Mapping[str, PrunableWeight]) -> Masks:
    """Return the masks of weights, True throughout where they carry none."""
    masks = constraints.get_masks(model)
    return {
        path: masks.get(path, np.ones(weight.shape, bool))
        for path, weight in weights.items()
    }


def make_problem(
    model: keras.Model,
    criterion: criteria.Criterion,
    weights: Mapping[str, PrunableWeight],
    data: Any,
    loss: Any,
    seed: int | None,
    batch_size: int,
    steps: int,
) -> criteria.Problem:
    """Gather what the criterion gets to see."""
    validation.check_seed(seed)
    _check_loss(loss)
    validation.check_positive_integer(batch_size, "batch_size")
    validation.check_positive_integer(steps, "steps")
    seed = random.randint(0, 2**31 - 1) if seed is None else seed
    batches: list[Batch] = []
    if data is not None:
        # Where only the shape matters one batch tells it.
        steps = steps if criterion.needs_data else 1
        batches = collect_batches(data, batch_size, steps, seed)
    elif criterion.needs_data:
        raise ValueError(
            f"`data` is what {type(criterion).__name__} learns from and must be given. "
            "Received: data=None"
        )
    return criteria.Problem(model, weights, batches, loss, seed)


def _check_loss(loss: Any) -> None:
    """Raise unless `loss` is what `compile` takes; what is in it, Keras checks."""
    is_function = callable(loss) and not isinstance(loss, type | keras.Layer)
    is_filled = isinstance(loss, str | list | tuple | dict) and len(loss) > 0
    if loss is not None and not is_function and not is_filled:
        raise ValueError(
            "`loss` must be a name, a function or a `keras.losses.Loss`, or a list or "
            f"dictionary of these, one per output. Received: loss={loss!r}"
        )


def checked(
    scores: Mapping[str, NDArray],
    problem: criteria.Problem,
    criterion: criteria.Criterion,
) -> dict[str, NDArray]:
    """Return scores as arrays of floats, or raise if one is missing or not finite."""
    name = type(criterion).__name__
    found = {path: np.asarray(array) for path, array in scores.items()}
    shapes = {path: array.shape for path, array in found.items()}
    expected = {path: weight.shape for path, weight in problem.weights.items()}
    if shapes != expected:
        raise ValueError(
            f"`score` of {name} must return one array per tensor, of its shape: "
            f"{expected}. Received: {shapes}"
        )
    for path, array in found.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(
                f"{name} gave weights of {path!r} scores that are NaN or infinite. "
                "Check the weights, the loss and the data."
            )
    return {
        path: array if array.dtype.kind == "f" else array.astype(float)
        for path, array in found.items()
    }
