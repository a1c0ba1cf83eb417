"""Networks of dense layers."""

import math
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
        input_shape: `(height, width, channels)` of images. Defaults to `(28, 28, 1)`.
        hidden_units: Units of the layers `hidden_1`, `hidden_2` and so on. Defaults
            to `(300, 100)`.
        num_classes: Units of the layer `output`. Defaults to 10.
        activation: Activation of the hidden layers. Defaults to `"relu"`.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: Decides the weights; None leaves them to chance. Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits `(batch, num_classes)`.

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
    dense = SeededInitializers(kernel_initializer, seed).dense

    images = keras.Input(shape, name="images")
    x = keras.layers.Flatten(name="flatten")(images)
    for number, width in enumerate(units, start=1):
        x = dense(width, activation, f"hidden_{number}")(x)
    logits = dense(num_classes, None, "output")(x)
    return keras.Model(images, logits, name=name)


def autoencoder(
    input_shape: Sequence[int] = (28, 28, 1),
    hidden_units: Sequence[int] = (256, 64),
    bottleneck_units: int = 16,
    activation: Any = "relu",
    bottleneck_activation: Any = "linear",
    kernel_initializer: Any = "he_normal",
    seed: int | None = None,
    name: str = "autoencoder",
) -> keras.Model:
    """Build a fully connected autoencoder whose decoder mirrors its encoder.

    By default 784-256-64-16-64-256-784. The outputs are images again, in [0, 1]:
    compile it with the mean squared error and use the inputs as targets.

    Args:
        input_shape: `(height, width, channels)` of images. Defaults to `(28, 28, 1)`.
        hidden_units: Units of the layers `encoder_1`, `encoder_2` and so on; those
            of the decoder are the same backwards. Defaults to `(256, 64)`.
        bottleneck_units: Units of the layer `bottleneck`. Defaults to 16.
        activation: Activation of the encoder and the decoder. Defaults to `"relu"`.
        bottleneck_activation: Activation of the bottleneck. Defaults to `"linear"`,
            which makes PCA of as many components the linear special case.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: Decides the weights; None leaves them to chance. Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to images of the same shape.

    Raises:
        ValueError: A shape, a number of units or the seed is wrong.

    Example:
        >>> autoencoder(seed=0).output_shape
        (None, 28, 28, 1)

    Reference:
        Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural
        networks", Science, 2006.
    """
    shape = check_image_shape(input_shape)
    units = check_integers(hidden_units, "hidden_units")
    check_positive_integer(bottleneck_units, "bottleneck_units")
    dense = SeededInitializers(kernel_initializer, seed).dense

    images = keras.Input(shape, name="images")
    x = keras.layers.Flatten(name="flatten")(images)
    for number, width in enumerate(units, start=1):
        x = dense(width, activation, f"encoder_{number}")(x)
    x = dense(bottleneck_units, bottleneck_activation, "bottleneck")(x)
    for number, width in enumerate(reversed(units), start=1):
        x = dense(width, activation, f"decoder_{number}")(x)
    x = dense(math.prod(shape), "sigmoid", "reconstruction")(x)
    outputs = keras.layers.Reshape(shape, name="reshape")(x)
    return keras.Model(images, outputs, name=name)
