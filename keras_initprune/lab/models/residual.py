"""A residual network."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_initprune.lab.models.arguments import (
    SeededInitializers,
    check_image_shape,
    check_integers,
)
from keras_initprune.validation import check_positive_integer


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
        input_shape: Shape of an image, `(height, width, channels)`. Defaults to
            `(28, 28, 1)`.
        filters: Filters of each stage. Defaults to `(16, 32, 64)`.
        blocks: Blocks per stage; n make a ResNet-(6n + 2) of three stages. Defaults to
            1.
        num_classes: Units of the layer `output`. Defaults to 10.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: The same seed gives the same weights; None leaves them to chance.
            Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits of shape
        `(batch, num_classes)`.

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
