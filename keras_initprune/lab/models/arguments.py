"""What the networks have in common: checks of arguments, and seeded initializers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_initprune.validation import check_positive_integer, check_seed, require


def check_integers(values: Any, name: str) -> tuple[int, ...]:
    """Return `values` as a tuple, or raise unless they are positive integers.

    Example:
        >>> check_integers([300, 100], "hidden_units")
        (300, 100)
    """
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str)
    rule = "a sequence of at least one integer of at least 1"
    require(is_sequence and len(values) > 0, values, name, rule)
    return tuple(
        check_positive_integer(value, f"{name}[{index}]")
        for index, value in enumerate(values)
    )


def check_image_shape(shape: Any) -> tuple[int, ...]:
    """Return `shape` as a tuple, or raise unless it is `(height, width, channels)`.

    Example:
        >>> check_image_shape([28, 28, 1])
        (28, 28, 1)
    """
    checked = check_integers(shape, "input_shape")
    require(len(checked) == 3, shape, "input_shape", "(height, width, channels)")
    return checked


class SeededInitializers:
    """Initializers of one kind, each with a seed of its own.

    One Keras initializer gives the same values every time that it is called, so two
    layers of the same shape that share it, or its seed, begin equal. Here the seed of
    each layer is drawn from the model's.

    Args:
        initializer: What Keras accepts as `kernel_initializer`.
        seed: The model's seed. None takes the seed of `initializer` where it has
            one, and else leaves the values to chance.

    Example:
        >>> initializers = SeededInitializers("he_normal", seed=0)
        >>> first, second = initializers.next(), initializers.next()
        >>> bool((first((2, 2)) == second((2, 2))).numpy().any())
        False
    """

    def __init__(self, initializer: Any, seed: int | None) -> None:
        self.initializer = keras.initializers.get(initializer)
        self.seed = check_seed(seed)
        self._config = _seeded_config(self.initializer)
        if self.seed is None and self._config is not None:
            self.seed = self._config["seed"]
        self._sequence = np.random.SeedSequence(self.seed or 0)

    def next(self) -> Any:
        """Return the initializer of the next layer."""
        if self._config is None:
            return self.initializer
        seed = None
        if self.seed is not None:
            seed = int(self._sequence.spawn(1)[0].generate_state(1)[0] >> 1)
        return type(self.initializer).from_config({**self._config, "seed": seed})

    def dense(self, units: int, activation: Any, name: str) -> keras.layers.Layer:
        """Return a dense layer with the next initializer."""
        return keras.layers.Dense(
            units, activation, kernel_initializer=self.next(), name=name
        )


def _seeded_config(initializer: Any) -> dict[str, Any] | None:
    """Return the configuration of an initializer that takes an integer seed."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return None
    config: dict[str, Any] = initializer.get_config()
    # A `SeedGenerator` in place of a number gives other values at each call anyway.
    seedable = isinstance(config.get("seed", ""), int | None)
    return config if seedable else None
