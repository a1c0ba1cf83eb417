"""The networks of the experiments: uncompiled, every layer named, seeded."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_initprune.validation import check_choice, check_positive_integer, check_seed

__all__ = ["autoencoder", "convnet", "get", "lenet5", "perceptron"]


def check_integers(values: Any, name: str) -> tuple[int, ...]:
    """Return `values` as a tuple, or raise unless they are positive integers.

    Example:
        >>> check_integers([300, 100], "hidden_units")
        (300, 100)
    """
    rule = f"`{name}` must be a sequence of at least one integer of at least 1."
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(f"{rule} Received: {name}={values!r}")
    return tuple(
        check_positive_integer(value, f"{name}[{index}]")
        for index, value in enumerate(values)
    )


def check_image_shape(shape: Any, name: str = "input_shape") -> tuple[int, ...]:
    """Return `shape` as a tuple, or raise unless it is `(height, width, channels)`.

    Example:
        >>> check_image_shape([28, 28, 1])
        (28, 28, 1)
    """
    checked = check_integers(shape, name)
    if len(checked) != 3:
        raise ValueError(
            f"`{name}` must be (height, width, channels). Received: {name}={shape!r}"
        )
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
        input_shape: Shape of an image, `(height, width, channels)`. Defaults to
            `(28, 28, 1)`.
        hidden_units: Units of the layers `encoder_1`, `encoder_2` and so on; those
            of the decoder are the same backwards. Defaults to `(256, 64)`.
        bottleneck_units: Units of the layer `bottleneck`. Defaults to 16.
        activation: Activation of the encoder and the decoder. Defaults to `"relu"`.
        bottleneck_activation: Activation of the bottleneck. Defaults to `"linear"`,
            which makes PCA of as many components the linear special case.
        kernel_initializer: Initializer of every kernel. Defaults to `"he_normal"`.
        seed: The same seed gives the same weights; None leaves them to chance.
            Defaults to None.
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


_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "autoencoder": autoencoder,
    "convnet": convnet,
    "lenet5": lenet5,
    "perceptron": perceptron,
}


def get(identifier: str | Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Return the function that builds the network called `identifier`.

    Args:
        identifier: `"autoencoder"`, `"convnet"`, `"lenet5"`, `"perceptron"`, or a
            function that builds a model, which is returned as it is.

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
