"""What differs between Keras' backends, chosen once, and what is private to Keras.

`common` says what the functions do, and each backend's file has those that it needs in
another way. Whatever `keras.ops` offers is not here.
"""

from typing import Any

import keras

from keras_initprune.backend.common import *  # noqa: F403

NAME: str = keras.config.backend()

if NAME == "tensorflow":
    from keras_initprune.backend.tensorflow import *  # noqa: F403
elif NAME == "jax":
    from keras_initprune.backend.jax import *  # noqa: F403
else:
    from keras_initprune.backend.torch import *  # noqa: F403


def is_float(value: Any) -> bool:
    """Return whether a value is a tensor of floats."""
    return keras.ops.is_tensor(value) and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(value.dtype)
    )


def check_tensorflow(what: str, instead: str, or_torch: bool = False) -> None:
    """Raise unless TensorFlow is Keras' backend.

    Args:
        what: What needs TensorFlow, as the beginning of a sentence.
        instead: What to do elsewhere, as the end of one.
        or_torch: Whether PyTorch does as well. Defaults to False.

    Raises:
        ValueError: If Keras runs on another backend.
    """
    if NAME == "tensorflow" or (or_torch and NAME == "torch"):
        return
    theirs = "TensorFlow's and PyTorch's" if or_torch else "TensorFlow's"
    raise ValueError(
        f"{what} {theirs}: {instead}, or set KERAS_BACKEND=tensorflow before "
        f"Keras is imported. Received: the backend {NAME!r}"
    )
