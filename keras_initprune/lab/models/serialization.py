"""Finding a network by its name."""

from collections.abc import Callable

import keras

from keras_initprune.lab.models.autoencoders import autoencoder
from keras_initprune.lab.models.convnets import convnet
from keras_initprune.lab.models.perceptrons import perceptron
from keras_initprune.validation import check_choice

_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "autoencoder": autoencoder,
    "convnet": convnet,
    "perceptron": perceptron,
}


def get(identifier: str | Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Return the function that builds the network called `identifier`.

    Args:
        identifier: `"autoencoder"`, `"convnet"`, `"perceptron"`, or a function that
            builds a model, which is returned as it is.

    Returns:
        The function.

    Raises:
        ValueError: There is no such network.

    Example:
        >>> get("perceptron")(input_shape=(8, 8, 1)).count_params()
        50610
    """
    if callable(identifier):
        return identifier
    return _BUILDERS[check_choice(identifier, "identifier", _BUILDERS)]
