"""Masks come back where a file or a list of weights has them.

A layer that makes its sublayers by itself rebuilds them without their constraints. What
tells that a weight had a mask is then the file: the mask lies beside the weight.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initprune.constraints.mask_constraint import (
    CHECKSUM,
    GuardedMask,
    MaskConstraint,
    all_or_nothing,
)
from keras_initprune.constraints.masks import install_mask, mask_variable
from keras_initprune.constraints.training import strategy_scope
from keras_initprune.constraints.weights import PrunableWeight, weights_of_layer


def load_weights(
    inner: Callable[..., Any], model: keras.Model, *args: Any, **kwargs: Any
) -> Any:
    """Do what `Model.load_weights` does; masks hold, and a failure changes nothing."""
    with all_or_nothing(model):
        return inner(model, *args, **kwargs)


def load_state(
    inner: Callable[..., Any],
    saveable: Any,
    weights_store: Any,
    assets_store: Any,
    inner_path: str,
    **kwargs: Any,
) -> None:
    """Do what Keras does to load one part of a model, with the masks in the file."""
    if isinstance(saveable, MaskConstraint):
        _placed(weights_store).add(inner_path)
    has_weights = isinstance(saveable, keras.layers.Layer) and weights_store is not None
    with all_or_nothing(saveable) if has_weights else contextlib.nullcontext():
        if has_weights:
            _install_saved_masks(saveable, weights_store, inner_path)
        inner(saveable, weights_store, assets_store, inner_path, **kwargs)
    if has_weights and not inner_path:
        _warn_of_masks_left_over(saveable, weights_store)


def set_weights(
    inner: Callable[..., Any], layer: keras.Layer, weights: Sequence[Any]
) -> None:
    """Do what `Layer.set_weights` does; a list brings its masks, or none.

    A list with masks installs those that the layer lacks, and in a list without masks
    the layer's own stay.
    """
    weights = list(weights)
    if list(map(_is_mask, weights)) != list(map(_is_mask, layer.weights)):
        weights = _with_masks(layer, weights)
    with all_or_nothing(layer):
        inner(layer, weights)


def copy_weights(source: keras.Layer, target: keras.Layer) -> None:
    """Copy all weights, masks and other variables of a layer into another of its kind.

    The copies share no memory. The target gets the masks that the source has.
    """
    target.set_weights(source.get_weights())
    for variable, copy in zip(_states(source), _states(target), strict=True):
        copy.assign(keras.ops.convert_to_numpy(variable))


def _states(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables that are not weights, such as the seeds of dropout."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def _is_mask(value: Any) -> bool:
    if isinstance(value, keras.Variable):
        return isinstance(value, GuardedMask)
    return np.asarray(value).dtype == bool


def _install_saved_masks(layer: keras.Layer, store: Any, path: str) -> None:
    for weight in weights_of_layer(layer):
        if mask_variable(weight) is not None:
            continue
        saved = store.get(f"{path}/{weight.constraint_attribute}".lstrip("/"))
        names = list(saved.keys())
        if CHECKSUM in names and tuple(saved["0"].shape) == weight.shape:
            install_mask(weight)


def _placed(store: Any) -> set[str]:
    return vars(store).setdefault("_initprune_placed", set())


def _warn_of_masks_left_over(layer: keras.Layer, store: Any) -> None:
    left = sorted(_saved_masks(store) - _placed(store))
    if left:
        warnings.warn(
            f"The file has masks for which {layer.name!r} has no weight, so these "
            f"layers train on without one: {', '.join(left)}. Build the model with "
            "the same layers, and register layers of your own that have weights to "
            "prune, before it is loaded.",
            stacklevel=6,
        )


def _saved_masks(store: Any) -> set[str]:
    """Return the paths of all masks in a file."""
    if hasattr(store, "contents"):  # A file of NumPy arrays.
        found = [path for path, entry in store.contents.items() if CHECKSUM in entry]
    elif (config := getattr(store, "sharding_config", None)) is not None:
        paths = [path.removesuffix("/vars").strip("/") for path in config["weight_map"]]
        found = [path for path in paths if CHECKSUM in store.get(path).keys()]  # noqa: SIM118
    else:
        names: list[str] = []
        store.h5_file.visit(names.append)
        ending = f"/vars/{CHECKSUM}"
        found = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    return {path.strip("/") for path in found}


def _with_masks(layer: keras.Layer, arrays: list[Any]) -> list[Any]:
    """Return arrays in the order of a layer's weights, masks among them.

    A mask follows the weights of the layer that it belongs to, so the array before it
    tells where it belongs.
    """
    plain = [weight for weight in layer.weights if not _is_mask(weight)]
    values = [array for array in arrays if not _is_mask(array)]
    if len(plain) != len(values):
        return arrays  # Keras says what does not fit.
    masks: list[tuple[PrunableWeight, Any]] = []
    candidates: list[PrunableWeight] = []
    last = _weights_by_last_variable(layer)
    following = iter(plain)
    for array in arrays:
        if not _is_mask(array):
            candidates = last.get(id(next(following)), [])
            continue
        shape = np.shape(array)
        fitting = next((w for w in candidates if w.shape == shape), None)
        if fitting is None:
            return arrays
        candidates = candidates[candidates.index(fitting) + 1 :]
        masks.append((fitting, array))
    return _install_and_merge(layer, iter(values), masks)


def _weights_by_last_variable(layer: keras.Layer) -> dict[int, list[PrunableWeight]]:
    """Return the weights whose masks may follow a variable, by the variable's id.

    The masks of a layer come after its own variables or after those of its sublayers.
    """
    found: dict[int, list[PrunableWeight]] = {}
    for part in reversed(list(layer._flatten_layers())):
        own = [*part._trainable_variables, *part._non_trainable_variables]
        everything = [weight for weight in part.weights if not _is_mask(weight)]
        weights = weights_of_layer(part)
        for variable in {id(group[-1]) for group in (own, everything) if group}:
            found.setdefault(variable, []).extend(weights)
    return found


def _install_and_merge(
    layer: keras.Layer, values: Iterator[Any], masks: list[tuple[PrunableWeight, Any]]
) -> list[Any]:
    given: dict[int, Any] = {}
    with strategy_scope(layer):
        for weight, array in masks:
            if mask_variable(weight) is None:
                install_mask(weight)
            given[id(mask_variable(weight))] = array
    return [
        given.get(id(weight), keras.ops.convert_to_numpy(weight))
        if _is_mask(weight)
        else next(values)
        for weight in layer.weights
    ]
