"""Pruning before training: score, allocate, mask, check, install."""

from typing import Any

import keras

from keras_initprune import constraints, criteria, validation
from keras_initprune.arrays import patterns
from keras_initprune.arrays.distributions import Distribution
from keras_initprune.arrays.masks import Masks, kept_counts
from keras_initprune.constraints.layers import Layers, LayerSelector
from keras_initprune.constraints.weights import warn_of_left_out
from keras_initprune.criteria.registry import Method
from keras_initprune.graphs.units import unit_ties
from keras_initprune.pruning import checks
from keras_initprune.pruning.groups import (
    check_choice,
    make_groups,
    order_zeros,
    select_masks,
)
from keras_initprune.pruning.problems import (
    checked,
    current_masks,
    make_problem,
    weights_to_prune,
)


def prune(
    model: keras.Model,
    method: Method,
    sparsity: float | None = None,
    data: Any = None,
    *,
    loss: Any = None,
    iterations: int | None = None,
    pattern: Any = None,
    distribution: Distribution | None = None,
    layers: LayerSelector = None,
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

    Weights that score 0 are kept by magnitude, the largest first.

    No other thread may call the model meanwhile: to score it, and to see whether a path
    through it remains, its layers do something else for a while, and what they return
    to that thread would be wrong, without an error.

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
        iterations: How many times to score and remove, not more often than there are
            weights. Defaults to the criterion's.
        pattern: `"units"` (whole units or filters, which `compact` then takes out, see
            `unit_ties`), `"unit"` (constant fan-in), `"N:M"` such as `"2:4"` (along the
            inputs of a unit; `NOfM` takes another axis), or `(inputs,
            outputs)` (blocks of that size), see `patterns`. Defaults to None: any
            weights.
        distribution: `"global"` (all weights compete), `"erk"`, `"uniform"` or a
            dictionary from tensor path to sparsity (weights compete within the share
            of their tensor). Defaults to the criterion's.
        layers: Which weights to prune, and which of them stay dense, see `Layers`.
            Defaults to those that carry a mask already, or all if none does.
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
            already, all weights that compete score the same, so that there is nothing
            to choose by, or a tensor or every path through the network would vanish.
        FloatingPointError: If a score is NaN or infinite.

    Warns:
        UserWarning: If a tensor keeps a single weight, or none on a path, so that its
            layer has collapsed though another path goes round it; if all weights of
            some tensors score the same; or if layers of your own, which nothing prunes
            before `register_prunable` names their weights, hold 5 % or more of all
            weights.

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
        layers=layers,
        seed=seed,
        batch_size=batch_size,
        steps=steps,
        verbose=verbose,
    )
    if Layers.of(layers).select is None and not constraints.masked_weights(model):
        warn_of_left_out(model)
    constraints.install_masks(model, Layers(list(masks), embeddings=True))
    constraints.set_masks(model, masks)
    return model


def pruning_masks(
    model: keras.Model,
    method: Method,
    sparsity: float | None = None,
    data: Any = None,
    *,
    loss: Any = None,
    iterations: int | None = None,
    pattern: Any = None,
    distribution: Distribution | None = None,
    layers: LayerSelector = None,
    seed: int | None = None,
    batch_size: int = 32,
    steps: int = 32,
    verbose: int = 0,
) -> Masks:
    """Return the masks that `prune` would set, and leave the model as it is.

    The arguments are those of `prune`. No other thread may call the model meanwhile.

    Returns:
        A dictionary from tensor path to a boolean array of the tensor's shape, True
        where a weight is kept.

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
    validation.check_verbose(verbose)
    shape = patterns.get(pattern)
    weights = weights_to_prune(model, layers)
    ties = dict.fromkeys(weights, "")
    if isinstance(shape, patterns.WholeUnits):
        ties = unit_ties(model, weights)
        weights = {path: weights[path] for path in ties}
    eligible = current_masks(model, weights)
    groups = make_groups(
        weights,
        eligible,
        checks.check_pattern_sparsity(sparsity, shape),
        checks.check_pattern_distribution(distribution, shape, criterion, weights),
        checks.dense_paths(layers, weights),
        shape.groups(ties),
    )
    for path in (p for group in groups if not group.is_dense for p in group.paths):
        shape.check(path, weights[path].shape, weights[path].unit_axes)
    count = checks.check_iterations(
        iterations, criterion, sum(kept_counts(eligible).values())
    )
    problem = make_problem(
        model, criterion, weights, data, loss, seed, batch_size, steps
    )
    bar = keras.utils.Progbar(count, unit_name="iteration") if verbose else None
    masks, scored = eligible, None
    for step in range(1, count + 1):
        if scored is None or any((masks[p] != scored[p]).any() for p in masks):
            scores, scored = (
                checked(criterion.score(problem, masks), problem, criterion),
                masks,
            )
            if step == 1:
                check_choice(groups, scores, masks, criterion)
            scores = order_zeros(scores, problem.initial)
        allowed = eligible if criterion.resurrects else masks
        masks = select_masks(
            shape, groups, scores, allowed, weights, ties, step / count
        )
        if bar:
            bar.update(step)
    checks.check_paths(model, masks, criterion, _few(problem))
    if verbose:
        kept, size = (
            sum(kept_counts(masks).values()),
            sum(mask.size for mask in masks.values()),
        )
        print(f"kept {kept:,} of {size:,} weights (sparsity {1 - kept / size:.4f})")
    return masks


def _few(problem: criteria.Problem) -> Any:
    """Return the inputs of a few examples, or None if there are no data."""
    if not problem.batches:
        return None
    return keras.tree.map_structure(lambda array: array[:3], problem.batches[0].x)
