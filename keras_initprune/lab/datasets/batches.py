"""Arrays in memory, in shuffled batches."""

from typing import Any

import numpy as np

from keras_initprune.validation import check_positive_integer, check_seed


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
