"""Copies a model, with other layers in the place of some."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_initprune.constraints import copy_weights
from keras_initprune.graphs.graph import is_graph

Pairs = list[tuple[keras.layers.Layer, keras.layers.Layer]]


def copy(
    model: keras.Model,
    replace: Callable[[keras.layers.Layer], keras.layers.Layer | None] | None = None,
    prepare: Mapping[int, Callable[[Any], Any]] | None = None,
) -> tuple[keras.Model, Pairs]:
    """Return a copy of a model, with weights of its own, and what each layer became.

    A layer that is met again, in a nested model too, is the same one again.

    Args:
        model: A built model for which `is_graph` holds. It stays as it is.
        replace: Returns a layer to take the place of one, whose weights it sets before
            or the caller afterwards, or None for a copy. Defaults to copies of all.
        prepare: From a layer's id to a function of the symbolic tensor that it reads; a
            Sequential model of such layers becomes a Functional one. Defaults to none.

    Raises:
        ValueError: If a layer is quantised with float8.
    """
    prepare = prepare or {}
    built: dict[int, Any] = {}
    prepared: dict[int, Callable[[Any], Any]] = {}
    pairs: Pairs = []

    def clone(operation: Any) -> Any:
        if id(operation) in built:
            return built[id(operation)]
        is_layer = isinstance(operation, keras.layers.Layer)
        if is_graph(operation):
            new = rebuild(operation)
        else:
            _check_copyable(operation)
            new = replace(operation) if replace and is_layer else None
            is_copy = new is None
            if is_copy:
                new = type(operation).from_config(operation.get_config())
            if is_layer:
                pairs.append((operation, new))
                copies.extend([(operation, new)] * is_copy)
            if id(operation) in prepare:
                prepared[id(new)] = prepare[id(operation)]
        built[id(operation)] = new
        return new

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in prepared:
            args = (prepared[id(layer)](args[0]), *args[1:])
        return layer(*args, **kwargs)

    def rebuild(model: keras.Model) -> keras.Model:
        if isinstance(model, keras.Sequential):
            if not any(id(layer) in prepare for layer in model.layers):
                return keras.models.clone_model(model, clone_function=clone)
            model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        return keras.models.clone_model(model, clone_function=clone, call_function=call)

    copies: Pairs = []
    compiled = model.compiled
    try:
        # Cloning would compile too, from a config that not every loss has.
        model.compiled = False
        copied = rebuild(model)
    finally:
        model.compiled = compiled
    for old, new in copies:
        copy_weights(old, new)
        for layer in new._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()
    return copied, pairs


def _check_copyable(operation: Any) -> None:
    if getattr(operation, "quantization_mode", None) == "float8":
        # Keras builds them with their weights in another order than it quantises them.
        raise ValueError(
            f"The layer {operation.name!r} is quantised with 'float8' and cannot be "
            "copied: compact, export or convert the model before it is quantised."
        )
