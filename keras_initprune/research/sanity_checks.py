"""Sanity checks: what of a pruning method would also work without its idea.

Every function takes masks, scores, a model or data, and a seed, and returns what the
control experiment trains with.

References:
    - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
      missing the mark?" (arXiv 2009.08576)
    - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
      jackpot" (arXiv 2009.11094)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import constraints, validation
from keras_initprune.arrays.masks import (
    Mask,
    candidate_key,
    candidate_scores,
    random_mask,
    top_k_mask,
)
from keras_initprune.constraints.layers import Layers
from keras_initprune.constraints.weights import (
    PrunableWeight,
    prunable_weights,
    without_masks,
)

__all__ = [
    "corrupt_labels",
    "corrupt_pixels",
    "inverted_masks",
    "random_fitness",
    "reinitialise",
    "shuffle_layerwise",
    "shuffle_preserving_degrees",
]


def inverted_masks(
    masks: Mapping[str, Mask], scores: Mapping[str, NDArray]
) -> dict[str, Mask]:
    """Return masks that keep as many weights per tensor, those with the worst scores.

    If they train as well as `masks`, the scores say nothing about single weights.

    Args:
        masks: From tensor path to a boolean array, 1 = keep.
        scores: From tensor path to the scores by which `masks` were chosen, higher =
            keep.

    Returns:
        From tensor path to a new boolean array.

    Raises:
        ValueError: If a tensor has no scores, or scores of another shape.

    References:
        - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
          missing the mark?" (arXiv 2009.08576), section 5

    Example:
        >>> masks = {"kernel": np.array([False, True, True])}
        >>> inverted_masks(masks, {"kernel": np.array([1.0, 2.0, 3.0])})["kernel"]
        array([ True,  True, False])
    """
    for path, mask in masks.items():
        found = np.shape(scores[path]) if path in scores else None
        if found != mask.shape:
            raise ValueError(
                f"`scores` must have an array of shape {mask.shape} for {path!r}. "
                f"Received: {'none' if found is None else f'shape {found}'}"
            )
    return {
        path: top_k_mask(-np.asarray(scores[path]), int(np.count_nonzero(mask)))
        for path, mask in masks.items()
    }


def random_fitness(masks: Mapping[str, Mask], seed: int = 0) -> dict[str, NDArray]:
    """Return a fitness that knows nothing: uniform random numbers for every weight.

    With it `k_starts_masks` reaches what drawing k masks gains by itself. Ranking all
    weights by it is random pruning.

    Args:
        masks: From tensor path to an array, of which only the shape matters.
        seed: Seed. With the place of a tensor in `masks`, not its name, it decides the
            numbers. Defaults to 0.

    Returns:
        From tensor path to an array in [0, 1).

    References:
        - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
          jackpot" (arXiv 2009.11094), for what it controls: that choosing among masks
          does more than drawing one

    Example:
        >>> from keras_initprune.arrays.selection import k_starts_masks
        >>> fitness = random_fitness({"kernel": np.ones((20, 10), bool)}, seed=1)
        >>> int(k_starts_masks(fitness, k=8, sparsity=0.9)["kernel"].sum())
        20
    """
    return {
        path: candidate_scores(
            np.shape(mask), candidate_key(seed, f"{index}/fitness", 0)
        )
        for index, (path, mask) in enumerate(masks.items())
    }


def shuffle_layerwise(masks: Mapping[str, Mask], seed: int = 0) -> dict[str, Mask]:
    """Return masks that keep as many weights per tensor, uniformly at random.

    What a method gains over them it gains by choosing weights; the rest it gains by
    choosing how many weights every layer keeps.

    Args:
        masks: From tensor path to a boolean array, 1 = keep.
        seed: Seed of the shuffle. With the place of a tensor in `masks`, not its name,
            it decides the mask. Defaults to 0.

    Returns:
        From tensor path to a new boolean array.

    References:
        - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
          missing the mark?" (arXiv 2009.08576), section 5

    Example:
        >>> mask = np.arange(100).reshape(10, 10) < 30
        >>> int(shuffle_layerwise({"kernel": mask}, seed=1)["kernel"].sum())
        30
    """
    return {
        path: random_mask(
            mask.shape,
            int(np.count_nonzero(mask)),
            candidate_key(seed, f"{index}/shuffle", 0),
        )
        for index, (path, mask) in enumerate(masks.items())
    }


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


def reinitialise(
    model: keras.Model, seed: int = 0, build: Callable[[int], keras.Model] | None = None
) -> keras.Model:
    """Draw a model's weights anew, in place; its masks stay.

    All weights, biases and normalisation's statistics get new initial values, as the
    layers' initializers draw them, and the optimizer starts from the beginning. If the
    model then trains as well, the mask does not depend on the weights that it was found
    with.

    Args:
        model: A built model, with masks or without.
        seed: Seed of the new weights, also where an initializer has one. Defaults to 0.
        build: Function that takes a seed and returns a new model with the same weights'
            shapes. Defaults to None: the model is rebuilt from its configuration,
            which Sequential, Functional and serializable models allow.

    Returns:
        The same model.

    Raises:
        ValueError: If the model cannot be rebuilt, or `build` returns another
            architecture.

    References:
        - Frankle et al. 2021, "Pruning neural networks at initialization: why are we
          missing the mark?" (arXiv 2009.08576), section 5

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> before = model.get_weights()[0]
        >>> bool((reinitialise(model, seed=1).get_weights()[0] == before).any())
        False
    """
    validation.check_seed(seed)
    fresh = _rebuild(model, seed) if build is None else build(seed)
    targets, sources = without_masks(model), without_masks(fresh)
    shapes = [[tuple(weight.shape) for weight in w] for w in (targets, sources)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`build` must return a model with the same weights' shapes, which are "
            f"{shapes[0]}. Received: {shapes[1]}"
        )
    for target, source in zip(targets, sources, strict=True):
        target.assign(keras.ops.convert_to_numpy(source))
    if getattr(model, "optimizer", None) is not None:
        with constraints.strategy_scope(model):
            optimizer: Any = model.optimizer
            model.optimizer = type(optimizer).from_config(optimizer.get_config())
        constraints.forget_compiled_functions(model)
    if constraints.masked_weights(model):
        constraints.project(model)
    return model


def _rebuild(model: keras.Model, seed: int) -> keras.Model:
    try:
        config = _reseeded(model.get_config(), seed, "model")
        fresh = type(model).from_config(config)
        if not fresh.built:
            fresh.build_from_config(model.get_build_config())
    except Exception as error:
        # Keras raises whatever the model's own code happens to raise.
        raise ValueError(
            f"The model {model.name!r} cannot be rebuilt from its configuration "
            f"({error}). Give a function that builds it. Received: build=None"
        ) from error
    return fresh


def _reseeded(config: Any, seed: int, place: str) -> Any:
    """Return a configuration in which every initializer has a seed of its own."""
    if isinstance(config, list | tuple):
        items = [_reseeded(v, seed, f"{place}/{i}") for i, v in enumerate(config)]
        return type(config)(items)
    if not isinstance(config, dict):
        return config
    config = {k: _reseeded(v, seed, f"{place}/{k}") for k, v in config.items()}
    for name, value in config.items():
        if name.endswith("_initializer") and isinstance(value, dict):
            arguments = value.get("config") or {}
            if "seed" in arguments:
                key = candidate_key(seed, f"{place}/{name}", 0) % 2**31
                config[name] = {**value, "config": {**arguments, "seed": key}}
    return config


_BLOCK = 1024  # Images that are shuffled at a time, so that memory stays small.


def corrupt_labels(y: NDArray, fraction: float = 1.0, seed: int = 0) -> NDArray:
    """Return targets of which a fraction is permuted among the examples.

    Classes keep their frequencies, and targets of any kind their distribution. With C
    classes about one permuted target in C is still right by chance. A method that finds
    as good a mask with such data learns nothing from labels.

    Args:
        y: Targets of shape `(examples, ...)`.
        fraction: Share of the examples that take part, in (0, 1]. Defaults to 1.0.
        seed: Seed. Defaults to 0.

    Returns:
        A new array like `y`.

    Raises:
        ValueError: If `fraction` lies outside (0, 1].

    References:
        - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
          jackpot" (arXiv 2009.11094), section 3

    Example:
        >>> y = corrupt_labels(np.arange(10), seed=1)
        >>> sorted(y.tolist()) == list(range(10)), (y == np.arange(10)).all().item()
        (True, False)
    """
    validation.check_fraction(fraction)
    generator = np.random.default_rng(seed)
    corrupted = np.array(y)
    chosen = generator.permutation(len(corrupted))[: round(fraction * len(corrupted))]
    corrupted[chosen] = corrupted[generator.permutation(chosen)]
    return corrupted


def corrupt_pixels(x: NDArray, seed: int = 0, per_image: bool = True) -> NDArray:
    """Return images whose pixels are permuted; the channels of a pixel stay together.

    Args:
        x: Images of shape `(examples, height, width, channels)` or `(examples, height,
            width)`, or vectors of shape `(examples, features)`.
        seed: Seed. Defaults to 0.
        per_image: Whether every image gets a permutation of its own, which leaves its
            histogram only; otherwise all get the same, which hides locality but
            nothing from a dense layer. Defaults to True.

    Returns:
        A new array like `x`.

    Raises:
        ValueError: If `x` has less than two or more than four axes.

    References:
        - Zhang et al. 2017, "Understanding deep learning requires rethinking
          generalization" (arXiv 1611.03530), section 2
        - Su et al. 2020, "Sanity-checking pruning methods: random tickets can win the
          jackpot" (arXiv 2009.11094), section 3

    Example:
        >>> x = np.arange(12.0).reshape(2, 6)
        >>> np.sort(corrupt_pixels(x, seed=1), axis=1).tolist() == x.tolist()
        True
    """
    x = np.asarray(x)
    if not 2 <= x.ndim <= 4:
        raise ValueError(
            "`x` must be vectors (examples, features) or images (examples, height, "
            f"width[, channels]). Received: an array of shape {x.shape}"
        )
    generator = np.random.default_rng(seed)
    pixels = x.reshape(len(x), int(np.prod(x.shape[1:3])), -1)
    if not per_image:
        return pixels[:, generator.permutation(pixels.shape[1])].reshape(x.shape)
    corrupted = np.empty_like(pixels)
    for begin in range(0, len(pixels), _BLOCK):
        block = pixels[begin : begin + _BLOCK]
        order = np.argsort(generator.random(block.shape[:2], np.float32), axis=1)
        corrupted[begin : begin + _BLOCK] = np.take_along_axis(
            block, order[:, :, None], axis=1
        )
    return corrupted.reshape(x.shape)
