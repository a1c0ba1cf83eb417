"""Networks of convolutions, one after the other or with shortcuts."""

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
        input_shape: `(height, width, channels)` of images. Defaults to `(28, 28, 1)`.
        filters: Filters of the layers `conv_1`, `conv_2` and so on. Each halves
            height and width. Defaults to `(32, 64)`.
        num_classes: Units of the layer `output`. Defaults to 10.
        activation: Activation of the convolutions. Defaults to `"relu"`.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: Decides the weights; None leaves them to chance. Defaults to None.
        name: Name of the model.
        kernel_size: Height and width of the convolutions' kernels. Defaults to 3.
        padding: Padding of the convolutions, `"same"` or `"valid"`. Defaults to
            `"same"`.
        hidden_units: Units of the dense layers `hidden_1`, `hidden_2` and so on after
            the convolutions. Defaults to none.

    Returns:
        An uncompiled functional model, images to logits `(batch, num_classes)`.

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
        input_shape: `(height, width, channels)` of images. Defaults to `(28, 28, 1)`.
        filters: Filters of the convolutions. Defaults to `(20, 50)`.
        hidden_units: Units of the dense layers after them. Defaults to `(500,)`.
        num_classes: Units of the layer `output`. Defaults to 10.
        seed: Decides the weights; None leaves them to chance. Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits `(batch, num_classes)`.

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


def resnet(
    input_shape: Sequence[int] = (28, 28, 1),
    filters: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    num_classes: int = 10,
    kernel_initializer: Any = "he_normal",
    seed: int | None = None,
    name: str = "resnet",
) -> keras.Model:
    """Build a residual network of the CIFAR family; by default ResNet-8.

    A convolution, stages of `blocks` blocks of two convolutions each, 3 x 3 and with
    batch normalisation, the mean over height and width, and a dense layer. Every stage
    but the first halves height and width. Where a block changes the shape, its shortcut
    is a 1 x 1 convolution. The outputs are logits.

    Args:
        input_shape: `(height, width, channels)` of images. Defaults to `(28, 28, 1)`.
        filters: Filters of each stage. Defaults to `(16, 32, 64)`.
        blocks: Blocks per stage; n make a ResNet-(6n + 2) of three stages. Defaults to
            1.
        num_classes: Units of the layer `output`. Defaults to 10.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: Decides the weights; None leaves them to chance. Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits `(batch, num_classes)`.

    Raises:
        ValueError: A shape, a number or the seed is wrong.

    Example:
        >>> resnet(seed=0).count_params()
        78426

    Reference:
        He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR
        2016 (arXiv 1512.03385), section 4.2, with shortcuts of option B.
    """
    shape = check_image_shape(input_shape)
    widths = check_integers(filters, "filters")
    check_positive_integer(blocks, "blocks")
    check_positive_integer(num_classes, "num_classes")
    initializers = SeededInitializers(kernel_initializer, seed)

    def convolve(x: Any, width: int, size: int, strides: int, name: str) -> Any:
        x = keras.layers.Conv2D(
            width,
            size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer=initializers.next(),
            name=name,
        )(x)
        return keras.layers.BatchNormalization(name=f"{name}_norm")(x)

    def block(x: Any, width: int, strides: int, name: str) -> Any:
        y = convolve(x, width, 3, strides, f"{name}_conv_1")
        y = keras.layers.ReLU(name=f"{name}_relu_1")(y)
        y = convolve(y, width, 3, 1, f"{name}_conv_2")
        if strides != 1 or x.shape[-1] != width:
            x = convolve(x, width, 1, strides, f"{name}_shortcut")
        y = keras.layers.Add(name=f"{name}_add")([x, y])
        return keras.layers.ReLU(name=f"{name}_relu_2")(y)

    images = keras.Input(shape, name="images")
    x = convolve(images, widths[0], 3, 1, "conv")
    x = keras.layers.ReLU(name="relu")(x)
    for stage, width in enumerate(widths, start=1):
        for number in range(1, blocks + 1):
            strides = 2 if stage > 1 and number == 1 else 1
            x = block(x, width, strides, f"block_{stage}_{number}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = initializers.dense(num_classes, None, "output")(x)
    return keras.Model(images, logits, name=name)
