"""A shuffle that leaves every unit as many connections as it has."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from keras_initprune import validation
from keras_initprune.arrays.masks import Mask, candidate_key
from keras_initprune.constraints.layers import Layers
from keras_initprune.constraints.weights import PrunableWeight, prunable_weights


def shuffle_preserving_degrees(
    masks: Mapping[str, Mask],
    seed: int = 0,
    model: keras.Model | None = None,
    rounds: int = 100,
) -> dict[str, Mask]:
    """Return random masks in which every input and output unit keeps its degree.

    What a method gains over them it gains by choosing which units are connected; the
    rest it gains by choosing how many connections every unit has.

    A mask is a bipartite graph between input and output units. In every round the
    inputs are paired at random, and the two of a pair deal out anew, at random, what
    only one of them is connected to (the global curveball algorithm). So every
    round keeps all degrees exactly, and with the rounds the graph becomes uniform among
    all with these degrees.

    - Dense and recurrent kernels: every row and every column keeps its count.
    - Convolutions: units are channels. Every input channel and every output channel
      keeps its number of weights; where in the window these lie is shuffled too, as
      the window's positions are not units of their own.
    - Depthwise convolutions: an output channel reads one input channel, so there is
      nothing to deal out, and only the places in the window are shuffled.
    - `EinsumDense`: output units are the axes of the kernel that only the output has;
      all others together index the input units.

    Args:
        masks: From tensor path to a boolean array, 1 = keep.
        seed: Seed of the shuffle. With the place of a tensor in `masks`, not its name,
            it decides the mask. Defaults to 0.
        model: The model that the masks belong to, whose layers say what the axes mean.
            Defaults to None: the last axis indexes outputs, the one before inputs,
            others the window of a convolution.
        rounds: How often all inputs are paired. Defaults to 100, which is plenty: the
            overlap with the mask that it starts from is at its final level after some
            thirty.

    Returns:
        From tensor path to a new boolean array.

    Raises:
        ValueError: If a mask has less than two axes, or names no weight of `model`.

    References:
        - Strona et al. 2014, "A fast and unbiased procedure to randomize ecological
          binary matrices with fixed row and column totals", Nature Communications 5
        - Carstens et al. 2018, "Parallel and I/O-efficient randomisation of massive
          networks using global curveball trades" (arXiv 1804.08487)

    Example:
        >>> mask = np.eye(6, dtype=bool)
        >>> shuffled = shuffle_preserving_degrees({"kernel": mask}, seed=1)["kernel"]
        >>> shuffled.sum(axis=0).tolist(), shuffled.sum(axis=1).tolist()
        ([1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1])
    """
    validation.check_positive_integer(rounds, "rounds")
    every = Layers(embeddings=True)
    weights = None if model is None else prunable_weights(model, every)
    shuffled = {}
    for index, (path, mask) in enumerate(masks.items()):
        axes = _axes(path, np.ndim(mask), weights)
        key = candidate_key(seed, f"{index}/degrees", 0)
        generator = np.random.Generator(np.random.Philox(key=key))
        shuffled[path] = _shuffle(np.asarray(mask, bool), axes, rounds, generator)
    return shuffled


@dataclass(frozen=True)
class _Axes:
    """Which axes of a kernel index input units, output units and the window."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    window: tuple[int, ...] = ()


def _axes(path: str, rank: int, weights: Mapping[str, PrunableWeight] | None) -> _Axes:
    if rank < 2:
        raise ValueError(
            "`masks` must have at least two axes, for inputs and outputs. "
            f"Received: a mask of {path!r} with {rank}"
        )
    window = tuple(range(rank - 2))
    if weights is None:
        return _Axes((rank - 2,), (rank - 1,), window)
    if path not in weights:
        raise ValueError(
            f"`masks` must name prunable weights of `model`, which are {list(weights)}."
            f" Received: {path!r}"
        )
    outputs = tuple(axis % rank for axis in weights[path].unit_axes)
    others = tuple(axis for axis in range(rank) if axis not in outputs)
    if isinstance(weights[path].layer, keras.layers.EinsumDense):
        return _Axes(others, outputs)
    return _Axes(tuple(axis for axis in others if axis not in window), outputs, window)


def _shuffle(
    mask: Mask, axes: _Axes, rounds: int, generator: np.random.Generator
) -> Mask:
    order = (*axes.inputs, *axes.outputs, *axes.window)
    moved = mask.transpose(order)
    sizes = [int(np.prod([mask.shape[axis] for axis in part]))
             for part in (axes.inputs, axes.outputs, axes.window)]  # fmt: skip
    graph = moved.reshape(sizes).copy()
    for _ in range(rounds):
        _trade(graph.reshape(sizes[0], -1), generator)
        if sizes[2] > 1:
            graph = generator.permuted(graph, axis=2)
    return graph.reshape(moved.shape).transpose(np.argsort(order))


def _trade(rows: Mask, generator: np.random.Generator) -> None:
    """Pair all rows at random, and deal out what only one of a pair has, in place."""
    order = generator.permutation(len(rows))
    half = len(rows) // 2
    first, second = order[:half], order[half : 2 * half]
    ones, others = rows[first], rows[second]
    pair, column = np.nonzero(ones != others)
    # Sorted within their pair by a random number, the first few go to the first row.
    column = column[np.argsort(pair + generator.random(pair.size))]
    begins = np.searchsorted(pair, np.arange(half))
    given = np.count_nonzero(ones & ~others, axis=1)
    is_first = np.arange(pair.size) - begins[pair] < given[pair]
    rows[first[pair], column] = is_first
    rows[second[pair], column] = ~is_first
