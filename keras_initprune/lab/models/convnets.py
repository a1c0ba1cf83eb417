"""Small convolutional classifiers."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_initprune.lab.models.arguments import (
    SeededInitializers,
    check_image_shape,
    check_integers,
)
from keras_initprune.validation import check_positive_integer


def convnet(
    input_shape: Sequence[int] = (28, 28, 1),
    filters: Sequence[int] = (32, 64),
    num_classes: int = 10,
    activation: Any = "relu",
    kernel_initializer: Any = "he_normal",
    seed: int | None = None,
    name: str = "convnet",
) -> keras.Model:
    """Build a small convolutional network: 3 x 3 convolutions, each pooled by 2.

    The outputs are logits: compile it with
    `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.

    Args:
        input_shape: Shape of an image, `(height, width, channels)`. Defaults to
            `(28, 28, 1)`.
        filters: Filters of the layers `conv_1`, `conv_2` and so on. Each halves
            height and width. Defaults to `(32, 64)`.
        num_classes: Units of the layer `output`. Defaults to 10.
        activation: Activation of the convolutions. Defaults to `"relu"`.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: The same seed gives the same weights; None leaves them to chance.
            Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits of shape
        `(batch, num_classes)`.

    Raises:
        ValueError: A shape, a number or the seed is wrong, or the images are too
            small to be halved so often.

    Example:
        >>> convnet(input_shape=(8, 8, 1), seed=0).output_shape
        (None, 10)
    """
    shape = check_image_shape(input_shape)
    widths = check_integers(filters, "filters")
    check_positive_integer(num_classes, "num_classes")
    if min(shape[:2]) < 2 ** len(widths):
        raise ValueError(
            "`input_shape` must have a height and a width of at least 2 to the power "
            "of the number of `filters`, since each halves them. "
            f"Received: input_shape={input_shape!r}, filters={filters!r}"
        )
    initializers = SeededInitializers(kernel_initializer, seed)

    images = keras.Input(shape, name="images")
    x = images
    for number, width in enumerate(widths, start=1):
        x = keras.layers.Conv2D(
            width,
            kernel_size=3,
            padding="same",
            activation=activation,
            kernel_initializer=initializers.next(),
            name=f"conv_{number}",
        )(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool_{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    logits = keras.layers.Dense(
        num_classes, kernel_initializer=initializers.next(), name="output"
    )(x)
    return keras.Model(images, logits, name=name)
