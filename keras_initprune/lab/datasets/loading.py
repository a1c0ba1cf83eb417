"""Loading a data set by its name into one record, and a pipeline that batches it."""

from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, get_args

import numpy as np

from keras_initprune.imports import needs
from keras_initprune.lab.datasets import images
from keras_initprune.lab.datasets.images import Split
from keras_initprune.validation import (
    check_choice,
    check_fraction,
    check_positive_integer,
    check_seed,
)

Name = Literal["digits", "mnist", "fashion_mnist"]
NAMES = get_args(Name)
"""The names that `load` knows."""

_DIGITS_MAXIMUM = 16.0

# The digits are published without a test split. Ours never changes, whatever the seed
# of the validation split, so that test errors can be compared.
_TEST_FRACTION, _TEST_SEED = 0.2, 0


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels in three parts that share no example.

    Images are float32 in [0, 1] with shape `(n, height, width, 1)`, labels are
    int32 with shape `(n,)`. The validation part is what choices are made on; the
    test part is for reporting alone.

    Args:
        name: What the data set is called in `load`.
        x_train: Training images.
        y_train: Training labels.
        x_validation: Validation images, taken from the training data.
        y_validation: Validation labels.
        x_test: Test images, the published test split where there is one.
        y_test: Test labels.

    Example:
        >>> from keras_initprune.lab.datasets import load
        >>> digits = load("digits")
        >>> digits.image_shape, digits.num_classes, len(digits.x_test)
        ((8, 8, 1), 10, 360)
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image, `(height, width, channels)`."""
        return self.x_train.shape[1:]

    @property
    def num_classes(self) -> int:
        """How many classes the labels count, from zero."""
        return int(self.y_train.max()) + 1

    def __repr__(self) -> str:
        return (
            f"Dataset(name={self.name!r}, image_shape={self.image_shape}, "
            f"num_classes={self.num_classes}, train={len(self.x_train)}, "
            f"validation={len(self.x_validation)}, test={len(self.x_test)})"
        )


def assemble(
    name: str,
    train: Split,
    test: Split,
    *,
    scale: float,
    validation_fraction: float,
    seed: int | None,
) -> Dataset:
    """Scale the images and carve the validation part out of the training data."""
    images, labels = train
    kept, held_out = _split(labels, validation_fraction, seed)
    return Dataset(
        name,
        *_convert(images[kept], labels[kept], scale),
        *_convert(images[held_out], labels[held_out], scale),
        *_convert(*test, scale),
    )


def _convert(images: np.ndarray, labels: np.ndarray, scale: float) -> Split:
    scaled = images.astype(np.float32)
    scaled /= scale
    return scaled, labels.astype(np.int32)


def load(
    name: Name | str,
    data_dir: str | PathLike[str] | None = None,
    validation_fraction: float = 0.1,
    seed: int | None = 0,
) -> Dataset:
    """Load a data set, preparing it first where that has not been done.

    `"digits"` comes with scikit-learn. `"mnist"` and `"fashion_mnist"` come from
    TensorFlow Datasets, which prepares them once, in about half a minute: from the
    four IDX files in `data_dir`, or in the directory that the environment variable
    `KERAS_INITPRUNE_DATA` names, or by downloading them where neither is given.

    The test part is the published one and does not depend on `seed`.

    Args:
        name: `"digits"`, `"mnist"` or `"fashion_mnist"`.
        data_dir: Directory with the IDX files, or with a subdirectory of them that
            is called `name`. When given, the files are checked even where the data
            set is prepared already. Ignored by `"digits"`. Defaults to None.
        validation_fraction: Fraction of the training data that becomes the
            validation part, in (0, 1), every class in proportion. Defaults to 0.1.
        seed: Seed of that split; None draws a new one. Defaults to 0.

    Returns:
        A `Dataset`.

    Raises:
        FileNotFoundError: `data_dir` or one of its files does not exist.
        ValueError: An argument is wrong, or a file is not what was published.
        RuntimeError: The data set had to be downloaded and could not be.

    Example:
        >>> load("digits")
        Dataset(name='digits', image_shape=(8, 8, 1), num_classes=10, train=1293, \
validation=144, test=360)
    """
    check_choice(name, "name", NAMES)
    fraction = check_fraction(validation_fraction, "validation_fraction")
    if fraction == 1:
        raise ValueError(
            "`validation_fraction` must leave examples to train on, so be in (0, 1). "
            f"Received: validation_fraction={validation_fraction!r}"
        )
    check_seed(seed)
    if name == "digits":
        scale, (train, test) = _DIGITS_MAXIMUM, _read_digits()
    else:
        scale, (train, test) = images.MAXIMUM, images.read(name, data_dir)
    return assemble(
        name, train, test, scale=scale, validation_fraction=fraction, seed=seed
    )


def _read_digits() -> tuple[Split, Split]:
    """Return the raw training and test parts, `((images, labels), ...)`.

    1,797 images of 8 x 8 pixels, values 0 to 16. A fixed stratified 20 % are for
    testing.

    Reference:
        Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI
        machine learning repository, 1998.
    """
    with needs("lab"):
        from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images[..., np.newaxis], digits.target
    train, test = _split(labels, _TEST_FRACTION, _TEST_SEED)
    return (images[train], labels[train]), (images[test], labels[test])


def _split(labels: np.ndarray, fraction: float, seed: int | None) -> Split:
    """Return the indices of two parts, the second a fraction of every class."""
    from sklearn.model_selection import train_test_split

    indices = np.arange(len(labels))
    return train_test_split(
        indices, test_size=fraction, random_state=seed, stratify=labels
    )


def pipeline(
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    shuffle: bool = False,
    seed: int | None = 0,
) -> Any:
    """Batch `x` and `y` into a `tf.data.Dataset`, every example once per pass.

    The arrays become tensors once; only indices are shuffled, and each batch is
    gathered as a whole. For an autoencoder `pipeline(x, x, ...)` keeps one copy.

    Keras warns that `fit` cannot shuffle a `tf.data.Dataset` unless it is told not
    to: `model.fit(pipeline(...), shuffle=False)`.

    Args:
        x: Inputs, shape `(n, ...)`.
        y: Targets, shape `(n, ...)`.
        batch_size: Examples per batch. The last batch has what is left.
        shuffle: Whether each pass has another order. Defaults to False.
        seed: Seed of the sequence of orders, which TensorFlow's global seed enters,
            too, where it is set before this call; None draws a new sequence.
            Defaults to 0.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)` batches.

    Raises:
        ValueError: The arrays are empty or differ in length, or `batch_size` or
            `seed` is wrong.

    Example:
        >>> import numpy as np
        >>> x = np.arange(5.0)
        >>> [len(inputs) for inputs, targets in pipeline(x, x, batch_size=2)]
        [2, 2, 1]
    """
    import tensorflow as tf

    check_positive_integer(batch_size, "batch_size")
    check_seed(seed)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            "`x` and `y` must have the same number of examples, at least one. "
            f"Received: len(x)={len(x)}, len(y)={len(y)}"
        )
    # Batches are put together on the CPU, wherever the model is.
    with tf.device("CPU"):
        inputs = tf.convert_to_tensor(x)
        targets = inputs if y is x else tf.convert_to_tensor(y)
    indices = tf.data.Dataset.range(len(x))
    if shuffle:
        indices = indices.shuffle(len(x), seed=seed, reshuffle_each_iteration=True)
    return (
        indices.batch(batch_size)
        .map(lambda batch: (tf.gather(inputs, batch), tf.gather(targets, batch)))
        .prefetch(tf.data.AUTOTUNE)
    )
