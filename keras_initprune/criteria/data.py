"""Data in any form that `fit` takes, as a few batches in memory."""

import itertools
import random
import sys
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
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
    leaves = keras.tree.flatten(data)
    if any(np.ndim(leaf) == 0 for leaf in leaves if _is_array(leaf)):
        raise ValueError(
            "`data` must be arrays with an axis of examples, or batches of them. "
            f"Received: data={data!r}"
        )
    if leaves and all(map(_is_array, leaves)):
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


def class_balanced(
    x: Any, y: Any, per_class: int = 10, seed: int | None = None
) -> tuple[Any, Any]:
    """Draw as many examples of every class, without replacement, in a random order.

    The result is what `prune` takes as `data`.

    Args:
        x: Inputs: an array, or a structure of arrays, each with an axis of examples.
        y: Targets: integers of shape (examples,) or (examples, 1), or one-hot of shape
            (examples, classes).
        per_class: Examples of every class. Defaults to 10.
        seed: Decides which are drawn. Defaults to None: drawn from Python's generator,
            which `keras.utils.set_random_seed` seeds.

    Returns:
        `(x, y)` of `classes * per_class` examples, as NumPy arrays in the same
        structure and form.

    Raises:
        ValueError: If an argument is of another form, or a class has fewer examples.

    References:
        - Wang et al. 2020, "Picking winning tickets before training by preserving
          gradient flow" (arXiv 2002.07376), whose program draws ten of every class

    Example:
        >>> x, y = np.arange(12).reshape(6, 2), np.array([0, 0, 1, 1, 1, 1])
        >>> drawn, labels = class_balanced(x, y, per_class=2, seed=0)
        >>> drawn.shape, sorted(labels.tolist())
        ((4, 2), [0, 0, 1, 1])
    """
    validation.check_positive_integer(per_class, "per_class")
    seed = validation.check_seed(seed)
    leaves = keras.tree.flatten(x)
    if not leaves or not all(_is_array(leaf) and np.ndim(leaf) for leaf in leaves):
        raise ValueError(
            "`x` must be an array, or a structure of arrays, with an axis of examples. "
            f"Received: x={x!r}"
        )
    labels, classes = _labels(y)
    sizes = sorted({int(leaf.shape[0]) for leaf in leaves})
    if sizes != [labels.size]:
        raise ValueError(
            "`x` and `y` must hold the same number of examples. "
            f"Received: {sizes} in x, {labels.size} in y"
        )
    drawn = random.randint(0, 2**31 - 1) if seed is None else seed
    generator = np.random.default_rng(drawn)
    order = generator.permutation(labels.size)
    places = [np.flatnonzero(labels[order] == each)[:per_class] for each in classes]
    few = {
        int(c): p.size
        for c, p in zip(classes, places, strict=True)
        if p.size < per_class
    }
    if few:
        raise ValueError(
            "Every class must have at least `per_class` examples. "
            f"Received: per_class={per_class}, and examples by class: {few}"
        )
    chosen = order[np.sort(np.concatenate(places))]
    return keras.tree.map_structure(lambda leaf: np.asarray(leaf)[chosen], (x, y))


def _labels(y: Any) -> tuple[NDArray, NDArray]:
    """Return the class of every example, and all classes."""
    array: NDArray = np.asarray(y if _is_array(y) else None)
    if array.size and array.dtype.kind in "biuf" and np.isfinite(array).all():
        is_column = array.ndim == 1 or array.shape[1:] == (1,)
        if is_column and (array == np.floor(array)).all():
            return array.ravel(), np.unique(array)
        is_one_hot = array.ndim == 2 and not is_column and np.isin(array, (0, 1)).all()
        if is_one_hot and (array.sum(axis=1) == 1).all():
            return array.argmax(axis=1), np.arange(array.shape[1])
    raise ValueError(
        "`y` must be an array of the classes of at least one example: integers of "
        "shape (examples,) or (examples, 1), or one-hot of shape (examples, classes). "
        f"Received: y={y!r}"
    )


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
