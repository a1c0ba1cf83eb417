"""Loading a data set by its name."""

from os import PathLike

from keras_initprune.lab.datasets import digits, images
from keras_initprune.lab.datasets.dataset import Dataset, assemble, check_split
from keras_initprune.validation import check_choice

NAMES = ("digits", *images.NAMES)
"""The names that `load` knows."""


def load(
    name: str,
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
    check_split(validation_fraction, seed)
    if name == "digits":
        scale, (train, test) = digits.MAXIMUM, digits.read()
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
