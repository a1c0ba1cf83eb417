"""Masks of a model that exists already: installed, read, set, projected, taken off."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import validation
from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints.layers import Layers, LayerSelector
from keras_initprune.constraints.mask_constraint import MaskConstraint, mask_of
from keras_initprune.constraints.training import (
    forget_compiled_functions,
    masks_changed,
    optimizer_slots,
    strategy_scope,
)
from keras_initprune.constraints.weights import (
    PrunableWeight,
    maskable_weights,
    prunable_weights,
    warn_of_left_out,
)

Masks = dict[str, Mask]


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


def masked_weights(model: keras.Model) -> dict[str, PrunableWeight]:
    """Return the weights of a model that carry a mask, by path."""
    weights = maskable_weights(model)
    return {p: w for p, w in weights.items() if mask_variable(w) is not None}


def mask_variable(weight: PrunableWeight) -> Any:
    """Return the variable that holds a weight's mask, or None if it has none."""
    return mask_of(weight.variable)


def get_masks(model: keras.Model) -> Masks:
    """Return the masks of a model.

    Args:
        model: A built Keras model.

    Returns:
        A dictionary from tensor path to a boolean array of the tensor's shape, True
        where a weight is kept. Empty if the model carries no masks.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> get_masks(model)
        {}
    """
    return masks_of(masked_weights(model))


def masks_of(weights: Mapping[str, PrunableWeight]) -> Masks:
    """Return the masks of weights that carry some, by path."""
    return {path: _mask_of(weight) for path, weight in weights.items()}


def set_masks(model: keras.Model, masks: Mapping[str, Any]) -> None:
    """Set masks of a model and zero the weights that they remove.

    The optimizer's slots and moving averages of removed weights are cleared too, and
    weights that come back begin like new ones.

    Args:
        model: A model with masks installed.
        masks: From tensor path to an array of the tensor's shape that holds only
            zeros and ones (or booleans), 1 = keep. Tensors that it does not name keep
            their masks.

    Raises:
        ValueError: If a path carries no mask, or an array has the wrong shape or
            values, or keeps nothing; no mask is changed then.

    Example:
        >>> from keras_initprune import install_masks
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> path = list(get_masks(install_masks(model)))[0]
        >>> set_masks(model, {path: [[1, 0], [0, 1]]})
        >>> int((model.get_weights()[0] == 0).sum())
        2
    """
    weights = masked_weights(model)
    rule = "a dictionary from tensor path to array, as `get_masks` returns"
    validation.require(isinstance(masks, Mapping), masks, "masks", rule)
    checked = {path: _check_mask(path, mask, weights) for path, mask in masks.items()}
    change_masks(model, weights, checked)


def change_masks(
    model: keras.Model, weights: Mapping[str, PrunableWeight], masks: Masks
) -> None:
    """Do what `set_masks` does, for known weights and masks that are checked."""
    slots = optimizer_slots(model)
    for path, mask in masks.items():
        variable = weights[path].variable
        # What a removed weight's slots have gathered must not come back with it, and
        # its value cannot: a guarded weight is zero wherever its mask removes it.
        stays = ops.convert_to_tensor(mask & _mask_of(weights[path]))
        mask_variable(weights[path]).assign(mask)
        for slot, pruned in slots.get(id(variable), ()):
            slot.assign(_chosen(stays, slot, pruned))


def project(model: keras.Model) -> None:
    """Zero the weights that the masks remove, and have the optimizer forget them.

    Keras projects after every update, and a masked weight masks what is assigned to it.
    Call this after what writes weights past both, such as a `tf.function` that was
    traced before the masks were installed. The optimizer's slots and averages of
    removed weights become what a new optimizer has for a weight of zero.

    Args:
        model: A built Keras model. Without masks nothing changes.

    Example:
        >>> from keras_initprune import install_masks
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(2, name="dense")]
        ... )
        >>> set_masks(install_masks(model), {"dense/kernel": [[1, 0], [0, 1]]})
        >>> _ = model.layers[0].kernel.value.assign([[1.0, 2.0], [3.0, 4.0]])
        >>> find_leaks(model)
        {'dense/kernel': 2}
        >>> project(model)
        >>> find_leaks(model)
        {}
    """
    slots = optimizer_slots(model)
    for weight in masked_weights(model).values():
        variable = weight.variable
        mask = ops.convert_to_tensor(mask_variable(weight))
        for target, pruned in ((variable, 0.0), *slots.get(id(variable), ())):
            target.assign(_chosen(mask, target, pruned))


def find_leaks(model: keras.Model) -> dict[str, int]:
    """Count the weights that a mask removes and that are not zero all the same.

    Args:
        model: A built Keras model.

    Returns:
        A dictionary from tensor path to the number of such weights, for tensors that
        have any. Empty if the masks hold.

    Example:
        >>> from keras_initprune import install_masks
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> find_leaks(install_masks(model))
        {}
    """
    leaks = {
        path: int(np.count_nonzero(weight.numpy()[~_mask_of(weight)]))
        for path, weight in masked_weights(model).items()
    }
    return {path: count for path, count in leaks.items() if count}


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


def _chosen(mask: Any, variable: Any, pruned: float) -> Any:
    """Return a variable's values where the mask is true, and `pruned` elsewhere."""
    # JAX takes tensors alone here, and a plain number might change their type.
    value = ops.convert_to_tensor(variable)
    fill = ops.convert_to_tensor(pruned, dtype=variable.dtype)
    return ops.where(mask, value, fill)


def _mask_of(weight: PrunableWeight) -> Mask:
    return ops.convert_to_numpy(mask_variable(weight)).astype(bool)


def _check_mask(
    path: str, mask: Any, weights: Mapping[str, PrunableWeight]
) -> np.ndarray:
    if path not in weights:
        raise ValueError(
            f"`masks` must name weights that carry a mask, which are {list(weights)} "
            f"(see `install_masks`). Received: {path!r}"
        )
    rule = f"`masks` must give {path!r} an array"
    shape = weights[path].shape
    try:
        array = np.asarray(mask)
    except ValueError as error:  # Rows of different lengths.
        raise ValueError(f"{rule} of shape {shape}. Received: {mask!r}") from error
    if array.shape != shape:
        raise ValueError(
            f"{rule} of shape {shape}. Received: an array of shape {array.shape}"
        )
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"{rule} that holds only 0 and 1 (1 = keep). "
            f"Received: an array of dtype {array.dtype} with other values"
        )
    kept = array.astype(bool)
    if not kept.any():
        raise ValueError(
            f"{rule} that keeps at least one weight: a tensor of zeros only does not "
            "train. Received: a mask that keeps none"
        )
    return kept
