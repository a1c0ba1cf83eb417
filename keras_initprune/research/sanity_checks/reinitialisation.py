"""New initial weights under the same masks."""

from collections.abc import Callable
from typing import Any

import keras

from keras_initprune import constraints, validation
from keras_initprune.arrays.masks import candidate_key
from keras_initprune.constraints.weights import without_masks


def reinitialise(
    model: keras.Model, seed: int = 0, build: Callable[[int], keras.Model] | None = None
) -> keras.Model:
    """Draw a model's weights anew, in place; its masks stay.

    All weights, biases and normalisation's statistics get new initial values, as the
    layers' initializers draw them, and the optimizer starts from the beginning. If the
    model then trains as well, the mask does not depend on the weights that it was found
    with.

    Args:
        model: A built model, with masks or without.
        seed: Seed of the new weights, also where an initializer has one. Defaults to 0.
        build: Function that takes a seed and returns a new model with the same weights'
            shapes. Defaults to None: the model is rebuilt from its configuration,
            which Sequential, Functional and serializable models allow.

    Returns:
        The same model.

    Raises:
        ValueError: If the model cannot be rebuilt, or `build` returns another
            architecture.

    References:
        - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
          missing the mark?" (arXiv 2009.08576), section 5

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> before = model.get_weights()[0]
        >>> bool((reinitialise(model, seed=1).get_weights()[0] == before).any())
        False
    """
    validation.check_seed(seed)
    fresh = _rebuild(model, seed) if build is None else build(seed)
    targets, sources = without_masks(model), without_masks(fresh)
    shapes = [[tuple(weight.shape) for weight in w] for w in (targets, sources)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`build` must return a model with the same weights' shapes, which are "
            f"{shapes[0]}. Received: {shapes[1]}"
        )
    for target, source in zip(targets, sources, strict=True):
        target.assign(keras.ops.convert_to_numpy(source))
    if getattr(model, "optimizer", None) is not None:
        with constraints.strategy_scope(model):
            optimizer: Any = model.optimizer
            model.optimizer = type(optimizer).from_config(optimizer.get_config())
        constraints.forget_compiled_functions(model)
    if constraints.masked_weights(model):
        constraints.project(model)
    return model


def _rebuild(model: keras.Model, seed: int) -> keras.Model:
    try:
        config = _reseeded(model.get_config(), seed, "model")
        fresh = type(model).from_config(config)
        if not fresh.built:
            fresh.build_from_config(model.get_build_config())
    except Exception as error:
        # Keras raises whatever the model's own code happens to raise.
        raise ValueError(
            f"The model {model.name!r} cannot be rebuilt from its configuration "
            f"({error}). Give a function that builds it. Received: build=None"
        ) from error
    return fresh


def _reseeded(config: Any, seed: int, place: str) -> Any:
    """Return a configuration in which every initializer has a seed of its own."""
    if isinstance(config, list | tuple):
        items = [_reseeded(v, seed, f"{place}/{i}") for i, v in enumerate(config)]
        return type(config)(items)
    if not isinstance(config, dict):
        return config
    config = {k: _reseeded(v, seed, f"{place}/{k}") for k, v in config.items()}
    for name, value in config.items():
        if name.endswith("_initializer") and isinstance(value, dict):
            arguments = value.get("config") or {}
            if "seed" in arguments:
                key = candidate_key(seed, f"{place}/{name}", 0) % 2**31
                config[name] = {**value, "config": {**arguments, "seed": key}}
    return config
