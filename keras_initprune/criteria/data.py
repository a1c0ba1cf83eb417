"""Data in any form that `fit` takes, as a few batches in memory."""

import itertools
import sys
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initprune.backend.keras_internals import data_adapters


class Batch(NamedTuple):
    """One batch, in the structure that the model and its loss take.

    Attributes:
        x: Inputs.
        y: Targets, or None.
        sample_weight: Weight of every example, or None.
    """

    x: Any
    y: Any
    sample_weight: Any

    @property
    def size(self) -> int:
        """Number of examples."""
        return int(keras.tree.flatten(self.x)[0].shape[0])


def collect_batches(
    data: Any, batch_size: int = 32, steps: int = 32, seed: int = 0
) -> list[Batch]:
    """Return up to `steps` batches of data in any form that `fit` takes.

    The batches stay in memory, since iterative criteria read the same ones again and
    generators cannot be read twice.

    Args:
        data: Arrays, `(x, y)` or `(x, y, sample_weight)`, each an array or a structure
            of arrays; or whatever yields such batches: a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a generator, a PyTorch `DataLoader`. A tuple is
            always `(x, y)`: put the inputs of a model with several into a list or a
            dictionary.
        batch_size: Examples per batch of arrays; other data come in batches already.
            Defaults to 32.
        steps: The most batches to read. Defaults to 32.
        seed: Decides which examples of arrays are drawn, without replacement; arrays
            are often sorted by class. Defaults to 0.

    Returns:
        At least one batch.

    Raises:
        ValueError: If the data are of another form, or empty.

    Example:
        >>> x, y = np.zeros((100, 4)), np.zeros((100, 1))
        >>> [batch.size for batch in collect_batches((x, y), batch_size=32, steps=9)]
        [32, 32, 32, 4]
    """
    if any(np.ndim(leaf) == 0 for leaf in keras.tree.flatten(data) if _is_array(leaf)):
        raise ValueError(
            "`data` must be arrays with an axis of examples, or batches of them. "
            f"Received: data={data!r}"
        )
    if _is_arrays(data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y, sample_weight = _draw((x, y, sample_weight), batch_size * steps, seed)
        size = min(batch_size, int(keras.tree.flatten(x)[0].shape[0]))
        source = data_adapters.get_data_adapter(x, y, sample_weight, batch_size=size)
    else:
        try:
            source = data_adapters.get_data_adapter(data)
        except Exception as error:
            raise ValueError(
                "`data` must be what `fit` takes: arrays `(x, y)`, a `tf.data.Dataset`,"
                " a `keras.utils.PyDataset` or a generator of batches. "
                f"Received: data={data!r} (of type {type(data).__name__})"
            ) from error
    source.on_epoch_begin()
    iterator = iter(source.get_numpy_iterator())
    batches = [
        Batch(*keras.utils.unpack_x_y_sample_weight(batch))
        for batch in itertools.islice(iterator, min(steps, sys.maxsize))
    ]
    if hasattr(iterator, "close"):
        iterator.close()
    source.on_epoch_end()
    if not batches:
        raise ValueError("`data` must hold at least one batch. Received: no batches")
    return batches


def _is_arrays(data: Any) -> bool:
    leaves = keras.tree.flatten(data)
    return bool(leaves) and all(map(_is_array, leaves))


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "__array__")


def _draw(arrays: Any, count: int, seed: int) -> Any:
    """Draw `count` examples, the same of every array, or all in a random order."""
    leaves = [leaf for leaf in keras.tree.flatten(arrays) if leaf is not None]
    sizes = {int(leaf.shape[0]) for leaf in leaves}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "The arrays of `data` must hold the same number of examples, at least one. "
            f"Received: arrays of {sorted(sizes)} examples"
        )
    order = np.random.default_rng(seed).permutation(sizes.pop())[:count]
    return tuple(
        None
        if part is None
        else keras.tree.map_structure(lambda leaf: np.asarray(leaf)[order], part)
        for part in arrays
    )
