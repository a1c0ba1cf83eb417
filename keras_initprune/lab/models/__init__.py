"""The networks of the experiments: uncompiled, every layer named, seeded."""

from collections.abc import Callable

import keras

from keras_initprune.lab.models.convolutional import convnet, lenet5, resnet
from keras_initprune.lab.models.dense import autoencoder, perceptron
from keras_initprune.lab.models.transformer import vit
from keras_initprune.validation import check_choice

__all__ = ["autoencoder", "convnet", "get", "lenet5", "perceptron", "resnet", "vit"]

_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "autoencoder": autoencoder,
    "convnet": convnet,
    "lenet5": lenet5,
    "perceptron": perceptron,
    "resnet": resnet,
    "vit": vit,
}


def get(identifier: str | Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Return the function that builds the network called `identifier`.

    Args:
        identifier: `"autoencoder"`, `"convnet"`, `"lenet5"`, `"perceptron"`,
            `"resnet"`, `"vit"`, or a function that builds a model, which is returned as
            it is.

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
