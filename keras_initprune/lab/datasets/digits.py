"""scikit-learn's handwritten digits, which need neither network nor files."""

import numpy as np

from keras_initprune.extras import needs
from keras_initprune.lab.datasets.dataset import Split

MAXIMUM = 16.0
"""The largest raw pixel value."""

TEST_FRACTION = 0.2

# The set is published without a test split. Ours never changes, whatever the seed
# of the validation split, so that test errors can be compared.
_TEST_SEED = 0


def read() -> tuple[Split, Split]:
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
        test_size=TEST_FRACTION,
        random_state=_TEST_SEED,
        stratify=digits.target,
    )
    return (
        (images[train], digits.target[train]),
        (images[test], digits.target[test]),
    )
