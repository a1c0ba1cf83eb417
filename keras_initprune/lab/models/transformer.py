"""A vision Transformer."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_initprune.lab.models.arguments import SeededInitializers, check_image_shape
from keras_initprune.validation import check_positive_integer


def vit(
    input_shape: Sequence[int] = (28, 28, 1),
    width: int = 64,
    hidden_units: int = 128,
    depth: int = 4,
    heads: int = 4,
    patch_size: int | None = None,
    num_classes: int = 10,
    kernel_initializer: Any = "glorot_uniform",
    seed: int | None = None,
    name: str = "vit",
) -> keras.Model:
    """Build a small vision Transformer, normalised before each of its halves.

    Square patches become vectors, with positions that are learned as biases of that
    projection; then `depth` blocks of attention and of two dense layers with GELU
    between them, and the mean over patches. The outputs are logits.

    Args:
        input_shape: `(height, width, channels)` of images. Defaults to `(28, 28, 1)`.
        width: Length of the vector of a patch. Defaults to 64.
        hidden_units: Units between the two dense layers of a block. Defaults to 128.
        depth: Number of blocks. Defaults to 4.
        heads: Heads of the attention, of `width // heads` units each. Defaults to 4.
        patch_size: Height and width of a patch, which must divide those of an image.
            Defaults to None: a quarter of the image's height, so 7 of 28 and 2 of 8.
        num_classes: Units of the layer `output`. Defaults to 10.
        kernel_initializer: Initializer of every kernel. Defaults to
            `"glorot_uniform"`.
        seed: Decides the weights; None leaves them to chance. Defaults to None.
        name: Name of the model.

    Returns:
        An uncompiled functional model, images to logits `(batch, num_classes)`.

    Raises:
        ValueError: A shape, a number or the seed is wrong, or patches do not fit the
            image.

    Example:
        >>> vit(seed=0).count_params()
        138826

    Reference:
        Dosovitskiy et al., "An image is worth 16x16 words: Transformers for image
        recognition at scale", ICLR 2021 (arXiv 2010.11929).
    """
    high, wide, channels = check_image_shape(input_shape)
    sizes = {"width": width, "hidden_units": hidden_units, "depth": depth}
    sizes |= {"heads": heads, "num_classes": num_classes}
    for argument, value in sizes.items():
        check_positive_integer(value, argument)
    if patch_size is None:
        size = max(1, high // 4)
    else:
        size = check_positive_integer(patch_size, "patch_size")
    if high % size or wide % size:
        raise ValueError(
            "`patch_size` must divide the image's height and width; by default it is a "
            f"quarter of the height. Received: patch_size={patch_size!r}, "
            f"input_shape={input_shape!r}"
        )
    initializers = SeededInitializers(kernel_initializer, seed)
    rows, columns, pixels = high // size, wide // size, size * size * channels

    images = keras.Input((high, wide, channels), name="images")
    x = keras.layers.Reshape((rows, size, columns, -1), name="rows")(images)
    x = keras.layers.Permute((1, 3, 2, 4), name="columns")(x)
    x = keras.layers.Reshape((rows * columns, pixels), name="patches")(x)
    # A bias of its own for every position: no layer of Keras alone adds such a table.
    x = keras.layers.EinsumDense(
        "bpi,io->bpo",
        (rows * columns, width),
        bias_axes="po",
        kernel_initializer=initializers.next(),
        name="embedding",
    )(x)
    for number in range(1, depth + 1):
        y = _normalise(x, f"norm_{number}_1")
        y = _attend(y, heads, initializers, f"attention_{number}")
        x = keras.layers.Add(name=f"add_{number}_1")([x, y])
        y = _normalise(x, f"norm_{number}_2")
        y = initializers.dense(hidden_units, "gelu", f"hidden_{number}_1")(y)
        y = initializers.dense(width, None, f"hidden_{number}_2")(y)
        x = keras.layers.Add(name=f"add_{number}_2")([x, y])
    x = _normalise(x, "norm")
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    logits = initializers.dense(num_classes, None, "output")(x)
    return keras.Model(images, logits, name=name)


def _normalise(x: Any, name: str) -> Any:
    return keras.layers.LayerNormalization(epsilon=1e-6, name=name)(x)


def _attend(x: Any, heads: int, initializers: SeededInitializers, name: str) -> Any:
    width = x.shape[-1]
    units = max(1, width // heads)
    layer = keras.layers.MultiHeadAttention(heads, units, name=name)
    attended = layer(x, x)
    # Keras gives all four kernels one seed, so that queries equal keys, and takes the
    # first axis for a convolution's window, so that they begin too small.
    projections = (layer.query_dense, layer.key_dense, layer.value_dense)
    for dense in projections:
        _fill(dense.kernel, (width, heads * units), initializers)
    _fill(layer.output_dense.kernel, (heads * units, width), initializers)
    return attended


def _fill(
    kernel: Any, matrix: tuple[int, int], initializers: SeededInitializers
) -> None:
    values = initializers.next()(matrix)
    kernel.assign(keras.ops.reshape(values, kernel.shape))
