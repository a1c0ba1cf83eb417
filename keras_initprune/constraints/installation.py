"""Masks are installed on a model and taken off it, in place."""

import contextlib
from typing import Any

import keras

from keras_initprune.constraints.layers import Layers, LayerSelector
from keras_initprune.constraints.mask_constraint import MaskConstraint
from keras_initprune.constraints.projection import (
    mask_variable,
    masked_weights,
    project,
    set_masks,
)
from keras_initprune.constraints.retracing import masks_changed
from keras_initprune.constraints.weights import (
    PrunableWeight,
    prunable_weights,
    warn_of_left_out,
)


def install_masks(model: keras.Model, layers: LayerSelector = None) -> keras.Model:
    """Install masks that keep every weight on a built model, in place.

    Weights that carry a mask already keep it. A constraint of the user's on the same
    weight still applies, before the mask.

    Args:
        model: A built Keras model: Sequential, Functional or subclassed.
        layers: Which weights to mask, see `Layers`. Defaults to all.

    Returns:
        The same model.

    Raises:
        ValueError: If the model is not built or nothing in it can be pruned.

    Warns:
        UserWarning: If layers of your own, which nothing prunes before
            `register_prunable` names their weights, hold 5 % or more of all weights.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> install_masks(model) is model
        True
        >>> list(masked_weights(model))[0].endswith("/kernel")
        True
    """
    weights = prunable_weights(model, layers)
    missing = [weight for weight in weights.values() if mask_variable(weight) is None]
    with strategy_scope(model):
        for weight in missing:
            install_mask(weight)
    if missing:
        forget_compiled_functions(model)
        if Layers.of(layers).select is None:
            warn_of_left_out(model)
    return model


def install_mask(weight: PrunableWeight) -> None:
    """Install a mask that keeps everything on one weight."""
    constraint = MaskConstraint(weight.shape, weight.variable.constraint)
    _set_constraint(weight, constraint)


def remove_masks(model: keras.Model) -> keras.Model:
    """Take all masks off a model, in place; its weights keep their zeros.

    What is left is a plain Keras model that computes the same function and needs this
    package neither to load nor to run. Constraints of the user's are put back.

    Args:
        model: A model with masks installed.

    Returns:
        The same model.

    Raises:
        ValueError: If the model carries no masks.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> masked_weights(remove_masks(install_masks(model)))
        {}
    """
    weights = masked_weights(model)
    if not weights:
        raise ValueError(f"The model {model.name!r} carries no masks to remove.")
    project(model)
    for weight in weights.values():
        _set_constraint(weight, weight.variable.constraint.inner)
    forget_compiled_functions(model)
    return model


def restore_masks(model: keras.Model, layers: LayerSelector = None) -> keras.Model:
    """Put masks back on a model whose weights carry the zeros.

    For models whose constraints are gone: rebuilt from code with loaded weights, saved
    after `remove_masks`, or returned by KerasTuner. Every weight that is exactly zero
    counts as pruned; weights that carry a mask already keep it, and a model in which
    all do is returned as it is.

    Args:
        model: A built Keras model.
        layers: Which weights to mask, see `Layers`. Defaults to all.

    Returns:
        The same model.

    Raises:
        ValueError: If no weight without a mask is zero, or a tensor is zero throughout.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[3.0], [0.0]]), np.zeros(1)])
        >>> model = restore_masks(model)
        >>> model.layers[0].kernel.assign([[5.0], [5.0]]).numpy().tolist()
        [[5.0], [5.0]]
        >>> model.layers[0].kernel_constraint(model.layers[0].kernel).numpy().tolist()
        [[5.0], [0.0]]
    """
    weights = prunable_weights(model, layers)
    masks = {
        path: weight.numpy() != 0
        for path, weight in weights.items()
        if mask_variable(weight) is None
    }
    if not masks:
        return model
    if not any((~mask).any() for mask in masks.values()):
        raise ValueError(
            f"The weights of the model {model.name!r} carry no zeros from which masks "
            "could be restored."
        )
    for path, mask in masks.items():
        if not mask.any():
            raise ValueError(
                f"All weights of {path!r} are zero, so a mask would leave nothing to "
                "train. Leave the layer out with `layers`."
            )
    install_masks(model, layers)
    set_masks(model, masks)
    return model


def strategy_scope(model: keras.Model) -> contextlib.AbstractContextManager:
    """Return the scope in which variables of a model have to be created."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def forget_compiled_functions(model: keras.Model) -> None:
    """Have Keras trace the training step anew, or it would keep the old constraints."""
    if getattr(model, "train_function", None) is not None:
        model.make_train_function(force=True)


def _set_constraint(weight: PrunableWeight, constraint: Any) -> None:
    layer, name = weight.layer, weight.constraint_attribute
    # A built layer's tracker is locked against new state; Keras' own `enable_lora`
    # opens it in the same way.
    layer._tracker.unlock()
    try:
        previous = getattr(layer, name, None)
        if isinstance(previous, keras.layers.Layer):
            layer._tracker.untrack(previous)
            # PyTorch would not have anything but a layer in a layer's place.
            delattr(layer, name)
        setattr(layer, name, constraint)
    finally:
        layer._tracker.lock()
    masks_changed()
    weight.variable.constraint = constraint
