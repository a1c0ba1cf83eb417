"""Loading a data set by its name."""

from os import PathLike
from typing import Literal, get_args

import numpy as np

from keras_initprune.imports import needs
from keras_initprune.lab.datasets import images
from keras_initprune.lab.datasets.dataset import Dataset, Split, assemble
from keras_initprune.validation import check_choice, check_fraction, check_seed

Name = Literal["digits", "mnist", "fashion_mnist"]
NAMES = get_args(Name)
"""The names that `load` knows."""

_DIGITS_MAXIMUM = 16.0

# The digits are published without a test split. Ours never changes, whatever the seed
# of the validation split, so that test errors can be compared.
_TEST_FRACTION, _TEST_SEED = 0.2, 0


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
    if check_fraction(validation_fraction, "validation_fraction") == 1:
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
        name,
        train,
        test,
        scale=scale,
        validation_fraction=validation_fraction,
        seed=seed,
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
        from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = digits.images[..., np.newaxis]
    train, test = train_test_split(
        np.arange(len(images)),
        test_size=_TEST_FRACTION,
        random_state=_TEST_SEED,
        stratify=digits.target,
    )
    return ((images[train], digits.target[train]), (images[test], digits.target[test]))
