"""Networks of convolutions, one after the other."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_initprune.lab.models.arguments import (
    SeededInitializers,
    check_image_shape,
    check_integers,
)
from keras_initprune.validation import check_choice, check_positive_integer


def convnet(
    input_shape: Sequence[int] = (28, 28, 1),
    filters: Sequence[int] = (32, 64),
    num_classes: int = 10,
    activation: Any = "relu",
    kernel_initializer: Any = "he_normal",
    seed: int | None = None,
    name: str = "convnet",
    kernel_size: int = 3,
    padding: str = "same",
    hidden_units: Sequence[int] = (),
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
        kernel_size: Height and width of the convolutions' kernels. Defaults to 3.
        padding: Padding of the convolutions, `"same"` or `"valid"`. Defaults to
            `"same"`.
        hidden_units: Units of the dense layers `hidden_1`, `hidden_2` and so on after
            the convolutions. Defaults to none.

    Returns:
        An uncompiled functional model, images to logits of shape
        `(batch, num_classes)`.

    Raises:
        ValueError: A shape, a number or the seed is wrong, or the images are too
            small for so many convolutions.

    Example:
        >>> convnet(input_shape=(8, 8, 1), seed=0).output_shape
        (None, 10)
    """
    shape = check_image_shape(input_shape)
    widths = check_integers(filters, "filters")
    units = check_integers(hidden_units, "hidden_units") if hidden_units else ()
    check_positive_integer(num_classes, "num_classes")
    check_positive_integer(kernel_size, "kernel_size")
    check_choice(padding, "padding", ("same", "valid"))
    lost = kernel_size - 1 if padding == "valid" else 0
    smallest = 1
    for _ in widths:
        smallest = 2 * smallest + lost
    if min(shape[:2]) < smallest:
        raise ValueError(
            f"`input_shape` must have a height and a width of at least {smallest}, "
            f"since each convolution takes {lost} from them and its pooling halves "
            f"them. Received: input_shape={input_shape!r}, filters={filters!r}"
        )
    initializers = SeededInitializers(kernel_initializer, seed)

    images = keras.Input(shape, name="images")
    x = images
    for number, width in enumerate(widths, start=1):
        x = keras.layers.Conv2D(
            width,
            kernel_size=kernel_size,
            padding=padding,
            activation=activation,
            kernel_initializer=initializers.next(),
            name=f"conv_{number}",
        )(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool_{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for number, width in enumerate(units, start=1):
        x = initializers.dense(width, activation, f"hidden_{number}")(x)
    logits = initializers.dense(num_classes, None, "output")(x)
    return keras.Model(images, logits, name=name)


def lenet5(
    input_shape: Sequence[int] = (28, 28, 1),
    filters: Sequence[int] = (20, 50),
    hidden_units: Sequence[int] = (500,),
    num_classes: int = 10,
    seed: int | None = None,
    name: str = "lenet5",
) -> keras.Model:
    """Build LeNet-5-Caffe, on which the literature of pruning reports errors.

    It is `convnet` with 5 x 5 convolutions without padding and a dense layer after
    them; ReLU follows the convolutions too, as in SNIP and most later work.

    Args:
        input_shape: Shape of an image, `(height, width, channels)`. Defaults to
            `(28, 28, 1)`.
        filters: Filters of the convolutions. Defaults to `(20, 50)`.
        hidden_units: Units of the dense layers after them. Defaults to `(500,)`.
        num_classes: Units of the layer `output`. Defaults to 10.
        seed: The same seed gives the same weights; None leaves them to chance.
            Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits of shape
        `(batch, num_classes)`.

    Raises:
        ValueError: As `convnet`.

    Example:
        >>> lenet5(seed=0).count_params()
        431080

    Reference:
        Lee, Ajanthan and Torr, "SNIP: single-shot network pruning based on connection
        sensitivity", ICLR 2019 (arXiv 1810.02340), section 5.
    """
    return convnet(
        input_shape,
        filters,
        num_classes,
        seed=seed,
        name=name,
        kernel_size=5,
        padding="valid",
        hidden_units=hidden_units,
    )
