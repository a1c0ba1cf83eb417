"""Pruning before training: score, allocate, mask, check, install."""

import random
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import constraints, criteria, patterns, validation
from keras_initprune.criteria.batches import Batch, collect_batches
from keras_initprune.distributions import (
    GLOBAL,
    Distribution,
    allocate,
    check_distribution,
    check_no_empty_tensor,
    count_beside,
)
from keras_initprune.liveness import Observation, UnknownInputsError, observe
from keras_initprune.masks import Mask
from keras_initprune.prunable import LayerSelector, PrunableWeight, prunable_weights

Masks = dict[str, Mask]
_ENDS = ("first", "last")


def prune(
    model: keras.Model,
    method: Any,
    sparsity: float | None = None,
    data: Any = None,
    *,
    loss: Any = None,
    iterations: int | None = None,
    pattern: Any = None,
    distribution: Distribution | None = None,
    dense: str | Collection[str] | None = None,
    layers: LayerSelector = None,
    skip_output: bool = False,
    embeddings: bool = False,
    seed: int | None = None,
    batch_size: int = 32,
    steps: int = 32,
    verbose: int = 0,
) -> keras.Model:
    """Prune a model before training, in place.

    A criterion scores the weights, and masks keep the highest scores. With more than
    one iteration density falls geometrically, `density ** (t / T)` after iteration t of
    T, and every iteration scores the network that the one before has left.

    Only the masks of the model change, and what they remove becomes zero: kept weights,
    moving statistics, the optimizer, seeds and `trainable` stay. Nothing changes before
    all is decided, so an error or an interrupt leaves the model as it was. The masks
    are constraints: they hold whatever trains the model, and are saved with it.

    Args:
        model: A built Keras model, compiled or not. What its masks have removed already
            stays removed and counts. Weights of frozen layers are left alone.
        method: `"random"`, `"magnitude"`, `"snip"`, `"iterative_snip"`, `"force"`,
            `"grasp"`, `"synflow"`, or a `Criterion`.
        sparsity: Fraction of the weights that is removed in the end, in [0, 1). May be
            None with a pattern N:M, which fixes it.
        data: What the criterion learns from, in any form that `fit` takes: arrays
            `(x, y)`, a `tf.data.Dataset`, a `PyDataset`, a generator. Criteria that
            need none only take the shape of the inputs from it, and only where the
            model does not know that itself. Defaults to None.
        loss: What `compile` takes as `loss`. Defaults to the compiled model's.
        iterations: How many times to score and remove. Defaults to the criterion's.
        pattern: `"unit"` (constant fan-in), `"N:M"` such as `"2:4"` (along the inputs
            of a unit), or `(inputs, outputs)` (blocks of that size), see `patterns`.
            Defaults to None: any weights.
        distribution: `"global"` (all weights compete), `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity (weights compete within the share
            of their tensor). Defaults to the criterion's.
        dense: `"first"`, `"last"` or both: the first or last layer in the model's order
            that is chosen keeps all that it has, and the others are sparser instead.
            Defaults to None.
        layers: Which weights to prune, see `prunable_weights`. Defaults to those that
            carry a mask already, or all if none does.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.
        seed: Decides random scores, and which examples of arrays are drawn. Defaults to
            None: drawn from Python's generator, which `keras.utils.set_random_seed`
            seeds.
        batch_size: Examples per batch of arrays. Defaults to 32.
        steps: The most batches to average over, the same in every iteration. Defaults
            to 32.
        verbose: 0 is silent; 1 shows the iterations and what was removed. Defaults to
            0.

    Returns:
        The same model.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, or a tensor or every path through the network would vanish.
        FloatingPointError: If a score is NaN or infinite.

    Warns:
        UserWarning: If a layer keeps weights but lies on no path any more.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> prune(model, "magnitude", sparsity=0.75) is model
        True
        >>> int((model.get_weights()[0] == 0).sum())
        24
    """
    masks = pruning_masks(
        model,
        method,
        sparsity,
        data,
        loss=loss,
        iterations=iterations,
        pattern=pattern,
        distribution=distribution,
        dense=dense,
        layers=layers,
        skip_output=skip_output,
        embeddings=embeddings,
        seed=seed,
        batch_size=batch_size,
        steps=steps,
        verbose=verbose,
    )
    constraints.install_masks(model, list(masks), embeddings=embeddings)
    constraints.set_masks(model, masks)
    return model


def pruning_masks(
    model: keras.Model,
    method: Any,
    sparsity: float | None = None,
    data: Any = None,
    *,
    loss: Any = None,
    iterations: int | None = None,
    pattern: Any = None,
    distribution: Distribution | None = None,
    dense: str | Collection[str] | None = None,
    layers: LayerSelector = None,
    skip_output: bool = False,
    embeddings: bool = False,
    seed: int | None = None,
    batch_size: int = 32,
    steps: int = 32,
    verbose: int = 0,
) -> Masks:
    """Return the masks that `prune` would set, and leave the model as it is.

    Args:
        model: See `prune`, also for all others.
        method: The criterion.
        sparsity: Fraction of the weights that is removed.
        data: What the criterion learns from.
        loss: The loss.
        iterations: How many times to score and remove.
        pattern: Which shapes of masks are allowed.
        distribution: How weights compete.
        dense: Which ends of the network stay dense.
        layers: Which weights to prune.
        skip_output: Whether to leave out the output layers.
        embeddings: Whether to prune embedding tables too.
        seed: Seed.
        batch_size: Examples per batch of arrays.
        steps: The most batches to average over.
        verbose: 0 or 1.

    Returns:
        From tensor path to mask.

    Raises:
        ValueError: See `prune`.
        FloatingPointError: See `prune`.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> masks = pruning_masks(model, "synflow", sparsity=0.75)
        >>> [int(mask.sum()) for mask in masks.values()]
        [8]
    """
    criterion = criteria.get(method)
    _check_verbose(verbose)
    chosen = patterns.get(pattern)
    weights = _weights_to_prune(model, layers, skip_output, embeddings)
    eligible = _current_masks(model, weights)
    groups = _groups(
        weights,
        eligible,
        _check_pattern_sparsity(sparsity, chosen),
        _check_pattern_distribution(distribution, chosen, criterion),
        _dense_paths(dense, weights),
    )
    for group in groups:
        for path in group.paths if group.start > group.end else ():
            chosen.check(path, weights[path].shape, weights[path].unit_axes)
    count = _check_iterations(iterations, criterion)
    problem = _problem(model, criterion, weights, data, loss, seed, batch_size, steps)
    bar = keras.utils.Progbar(count, unit_name="iteration") if verbose else None
    masks, scored = eligible, None
    for step in range(1, count + 1):
        if not _same(masks, scored):
            scores, scored = _finite(criterion.score(problem, masks), criterion), masks
        allowed = eligible if criterion.resurrects else masks
        masks = _select(chosen, groups, scores, allowed, weights, step / count)
        if bar:
            bar.update(step)
    inputs = _few(problem.batches[0].x) if problem.batches else None
    _check_paths(model, masks, criterion, inputs)
    if verbose:
        kept, size = _count(masks), sum(mask.size for mask in masks.values())
        print(f"kept {kept:,} of {size:,} weights (sparsity {1 - kept / size:.4f})")
    return masks


def score_weights(
    model: keras.Model,
    method: Any,
    data: Any = None,
    *,
    loss: Any = None,
    layers: LayerSelector = None,
    skip_output: bool = False,
    embeddings: bool = False,
    seed: int | None = None,
    batch_size: int = 32,
    steps: int = 32,
) -> dict[str, NDArray]:
    """Return a criterion's scores of a model's weights as they are.

    Args:
        model: See `prune`, also for all others.
        method: The criterion.
        data: What the criterion learns from.
        loss: The loss.
        layers: Which weights to score.
        skip_output: Whether to leave out the output layers.
        embeddings: Whether to score embedding tables too.
        seed: Seed.
        batch_size: Examples per batch of arrays.
        steps: The most batches to average over.

    Returns:
        From tensor path to an array of the tensor's shape, higher = keep.

    Raises:
        ValueError: If an argument is invalid.
        FloatingPointError: If a score is NaN or infinite.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.layers[0].kernel.assign([[-3.0], [1.0]]).shape
        TensorShape([2, 1])
        >>> (scores,) = score_weights(model, "synflow").values()
        >>> scores.ravel().tolist()
        [3.0, 1.0]
    """
    criterion = criteria.get(method)
    weights = _weights_to_prune(model, layers, skip_output, embeddings)
    problem = _problem(model, criterion, weights, data, loss, seed, batch_size, steps)
    masks = _current_masks(model, weights)
    return _finite(criterion.score(problem, masks), criterion)


@dataclass(frozen=True)
class _Group:
    """Weights that compete with each other: how many there are, and will be."""

    paths: tuple[str, ...]
    start: int
    end: int

    def count(self, progress: float) -> int:
        """Return how many are kept on the way, geometrically in density."""
        return round(self.start ** (1.0 - progress) * self.end**progress)


def _weights_to_prune(
    model: keras.Model, layers: LayerSelector, skip_output: bool, embeddings: bool
) -> dict[str, PrunableWeight]:
    weights = prunable_weights(model, layers, skip_output, embeddings)
    if layers is None and not skip_output and not embeddings:
        weights = constraints.masked_weights(model) or weights
    trained = {path: w for path, w in weights.items() if w.variable.trainable}
    if not trained:
        raise ValueError(
            f"All weights of {model.name!r} that `prune` could remove are frozen. Set "
            "`trainable = True` on some layer, or choose others with `layers`."
        )
    return trained


def _current_masks(model: keras.Model, weights: Mapping[str, PrunableWeight]) -> Masks:
    masks = constraints.get_masks(model)
    return {
        path: masks.get(path, np.ones(weight.shape, bool))
        for path, weight in weights.items()
    }


def _groups(
    weights: Mapping[str, PrunableWeight],
    eligible: Masks,
    sparsity: float,
    distribution: Distribution,
    dense: Collection[str],
) -> list[_Group]:
    """Say what competes with what, and how many weights are kept in the end."""
    sizes = {path: weight.size for path, weight in weights.items()}
    available = {path: int(np.count_nonzero(mask)) for path, mask in eligible.items()}
    now = 1 - sum(available.values()) / sum(sizes.values())
    if sum(available.values()) < round((1.0 - sparsity) * sum(sizes.values())):
        raise ValueError(
            "`sparsity` must not lie below that of the model, whose masks remove "
            f"{now:.4f} of the weights already. Received: sparsity={sparsity}"
        )
    if distribution == GLOBAL:
        kept = {path: available[path] for path in dense}
        rest = tuple(path for path in weights if path not in kept)
        start = sum(available[path] for path in rest)
        groups = [_Group((path,), count, count) for path, count in kept.items()]
        if rest:
            groups.append(_Group(rest, start, count_beside(sizes, sparsity, kept)))
        return groups
    shapes = {path: weight.shape for path, weight in weights.items()}
    counts = allocate(shapes, sparsity, distribution, available, dense)
    return [_Group((path,), available[path], counts[path]) for path in weights]


def _select(
    pattern: patterns.Pattern,
    groups: Collection[_Group],
    scores: Mapping[str, NDArray],
    eligible: Masks,
    weights: Mapping[str, PrunableWeight],
    progress: float,
) -> Masks:
    """Keep the highest scores, at this point of the schedule."""
    masks: Masks = {}
    for group in groups:
        if group.start == group.end:
            masks.update({path: eligible[path] for path in group.paths})
            continue
        tensors = {
            path: patterns.Tensor(scores[path], eligible[path], weights[path].unit_axes)
            for path in group.paths
        }
        masks.update(pattern.masks(tensors, group.count(progress)))
    return {path: masks[path] for path in weights}


def _problem(
    model: keras.Model,
    criterion: criteria.Criterion,
    weights: Mapping[str, PrunableWeight],
    data: Any,
    loss: Any,
    seed: int | None,
    batch_size: int,
    steps: int,
) -> criteria.Problem:
    """Gather what the criterion gets to see."""
    validation.check_seed(seed)
    validation.check_positive_integer(batch_size, "batch_size")
    validation.check_positive_integer(steps, "steps")
    seed = random.randint(0, 2**31 - 1) if seed is None else seed
    batches: list[Batch] = []
    if data is not None:
        # Where only the shape matters one batch tells it.
        steps = steps if criterion.needs_data else 1
        batches = collect_batches(data, batch_size, steps, seed)
    elif criterion.needs_data:
        raise ValueError(
            f"`data` is what {type(criterion).__name__} learns from and must be given. "
            "Received: data=None"
        )
    return criteria.Problem(model, weights, batches, loss, seed)


def _check_pattern_sparsity(sparsity: Any, pattern: patterns.Pattern) -> float:
    fixed = pattern.sparsity
    if fixed is None:
        return validation.check_sparsity(sparsity)
    if sparsity is not None and not np.isclose(
        validation.check_sparsity(sparsity), fixed
    ):
        raise ValueError(
            f"`pattern` fixes the sparsity of every tensor at {fixed:g}: leave "
            f"`sparsity` out. Received: sparsity={sparsity}, pattern={pattern}"
        )
    return fixed


def _check_pattern_distribution(
    distribution: Any, pattern: patterns.Pattern, criterion: criteria.Criterion
) -> Distribution:
    if pattern.sparsity is not None:
        if distribution not in (None, "uniform"):
            raise ValueError(
                "`pattern` gives every tensor the same sparsity, which is the "
                f"`distribution` 'uniform'. Received: distribution={distribution!r}, "
                f"pattern={pattern}"
            )
        return "uniform"
    default = criterion.distribution if distribution is None else distribution
    return check_distribution(default, ranked=criterion.ranks)


def _dense_paths(dense: Any, weights: Mapping[str, PrunableWeight]) -> Collection[str]:
    """Return the paths of the first and the last layer, where these stay dense."""
    ends = [dense] if isinstance(dense, str) else dense or ()
    for end in ends:
        validation.check_choice(end, "dense", _ENDS)
    found = list(weights.values())
    owners = [{"first": found[0], "last": found[-1]}[end].layer for end in ends]
    return [path for path, w in weights.items() if any(w.layer is o for o in owners)]


def _check_iterations(iterations: Any, criterion: criteria.Criterion) -> int:
    if iterations is None:
        return criterion.iterations
    validation.check_positive_integer(iterations, "iterations")
    if iterations > 1 and not criterion.looks_at_masks:
        raise ValueError(
            f"{type(criterion).__name__} scores weights alike in every iteration, so "
            f"one is enough. Received: iterations={iterations}"
        )
    return iterations


def _check_verbose(verbose: Any) -> None:
    if verbose not in (0, 1):
        raise ValueError(f"`verbose` must be 0 or 1. Received: verbose={verbose!r}")


def _finite(
    scores: dict[str, NDArray], criterion: criteria.Criterion
) -> dict[str, NDArray]:
    for path, array in scores.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(
                f"{type(criterion).__name__} gave weights of {path!r} scores that are "
                "NaN or infinite. Check the weights, the loss and the data."
            )
    return scores


def _check_paths(
    model: keras.Model, masks: Masks, criterion: criteria.Criterion, inputs: Any
) -> None:
    """Raise if nothing would pass the network, and warn of layers that are cut off."""
    check_no_empty_tensor(
        {path: int(np.count_nonzero(mask)) for path, mask in masks.items()},
        {path: mask.size for path, mask in masks.items()},
    )
    try:
        found = observe(model, {**constraints.get_masks(model), **masks}, inputs)
    except UnknownInputsError as error:
        warnings.warn(
            f"Whether a path through the network remains is not checked: {error}",
            stacklevel=4,
        )
        return
    name = type(criterion).__name__
    if not found.has_live_path:
        narrowest = min(masks, key=lambda path: np.count_nonzero(masks[path]))
        raise ValueError(
            f"{name} would leave no path from the inputs of {model.name!r} to its "
            f"outputs: {narrowest!r} would keep {np.count_nonzero(masks[narrowest])} "
            f"of {masks[narrowest].size} weights. Choose a lower sparsity, another "
            "distribution, or leave narrow layers out with `layers`."
        )
    collapsed = list(_collapsed(found, masks))
    if collapsed:
        warnings.warn(
            f"{name} collapses layers: on no path from an input to an output lie the "
            f"weights that it keeps of {', '.join(map(repr, collapsed))}.",
            stacklevel=4,
        )


def _few(inputs: Any) -> Any:
    return keras.tree.map_structure(lambda array: array[:3], inputs)


def _collapsed(found: Observation, masks: Masks) -> Iterator[str]:
    return (path for path in masks if not found.effective[path].any())


def _same(masks: Masks, others: Masks | None) -> bool:
    return others is not None and all((masks[p] == others[p]).all() for p in masks)


def _count(masks: Masks) -> int:
    return sum(int(np.count_nonzero(mask)) for mask in masks.values())
