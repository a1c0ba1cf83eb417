"""Fully connected classifiers."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_initprune.lab.models.arguments import (
    SeededInitializers,
    check_image_shape,
    check_integers,
)
from keras_initprune.validation import check_positive_integer


def perceptron(
    input_shape: Sequence[int] = (28, 28, 1),
    hidden_units: Sequence[int] = (300, 100),
    num_classes: int = 10,
    activation: Any = "relu",
    kernel_initializer: Any = "he_normal",
    seed: int | None = None,
    name: str = "perceptron",
) -> keras.Model:
    """Build a multilayer perceptron; by default LeNet-300-100.

    The outputs are logits: compile it with
    `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.

    Args:
        input_shape: Shape of an image, `(height, width, channels)`. Defaults to
            `(28, 28, 1)`.
        hidden_units: Units of the layers `hidden_1`, `hidden_2` and so on. Defaults
            to `(300, 100)`.
        num_classes: Units of the layer `output`. Defaults to 10.
        activation: Activation of the hidden layers. Defaults to `"relu"`.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: The same seed gives the same weights; None leaves them to chance.
            Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits of shape
        `(batch, num_classes)`.

    Raises:
        ValueError: A shape, a number of units or the seed is wrong.

    Example:
        >>> perceptron(seed=0).count_params()
        266610

    Reference:
        LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to
        document recognition", Proceedings of the IEEE, 1998.
    """
    shape = check_image_shape(input_shape)
    units = check_integers(hidden_units, "hidden_units")
    check_positive_integer(num_classes, "num_classes")
    initializers = SeededInitializers(kernel_initializer, seed)

    images = keras.Input(shape, name="images")
    x = keras.layers.Flatten(name="flatten")(images)
    for number, width in enumerate(units, start=1):
        x = keras.layers.Dense(
            width,
            activation=activation,
            kernel_initializer=initializers.next(),
            name=f"hidden_{number}",
        )(x)
    logits = keras.layers.Dense(
        num_classes, kernel_initializer=initializers.next(), name="output"
    )(x)
    return keras.Model(images, logits, name=name)
