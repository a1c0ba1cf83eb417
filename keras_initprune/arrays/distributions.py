"""Distributions: how many weights every tensor keeps at a given overall sparsity."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from keras_initprune import validation
from keras_initprune.arrays.masks import Mask, kept_counts

Shapes = Mapping[str, Sequence[int]]
DistributionName = Literal["uniform", "erk", "global"]
Distribution = DistributionName | str | Mapping[str, float]

GLOBAL = "global"


def uniform(shapes: Shapes) -> dict[str, float]:
    """Weigh all tensors alike: every tensor gets the overall sparsity."""
    return dict.fromkeys(shapes, 1.0)


def erk(shapes: Shapes) -> dict[str, float]:
    """Weigh a tensor by the sum of its dimensions over their product.

    The Erdos-Renyi-Kernel distribution: the density of a tensor is proportional to
    `sum(shape) / prod(shape)`, so wide tensors are pruned harder than narrow ones.

    References:
        - Mocanu et al. 2018, "Scalable training of artificial neural networks with
          adaptive sparse connectivity" (arXiv 1707.04780)
        - Evci et al. 2020, "Rigging the lottery" (arXiv 1911.11134)

    Example:
        >>> erk({"output/kernel": (100, 10)})
        {'output/kernel': 0.11}
    """
    return {path: sum(shape) / math.prod(shape) for path, shape in shapes.items()}


_DENSITY_WEIGHTS: dict[str, Callable[[Shapes], dict[str, float]]] = {
    "uniform": uniform,
    "erk": erk,
}


def check_distribution(distribution: Any, ranked: bool) -> Distribution:
    """Return `distribution`, or raise unless it is a known name or a valid dictionary.

    Args:
        distribution: `"uniform"`, `"erk"`, `"global"` or a dictionary from tensor path
            to sparsity.
        ranked: Whether weights are ranked against each other; only then can they be
            ranked over the whole network, which `"global"` means.
    """
    if isinstance(distribution, Mapping):
        for path, sparsity in distribution.items():
            validation.check_sparsity(sparsity, f"distribution[{path!r}]")
        return dict(distribution)
    if isinstance(distribution, str) and distribution == GLOBAL and not ranked:
        raise ValueError(
            '`distribution="global"` ranks all weights of the network against each '
            "other, which random masks do not do: choose 'erk', 'uniform' or a "
            "dictionary. "
            f"Received: distribution={distribution!r}"
        )
    choices = [*_DENSITY_WEIGHTS, GLOBAL] if ranked else list(_DENSITY_WEIGHTS)
    return validation.check_choice(distribution, "distribution", choices)


def allocate(
    shapes: Shapes,
    sparsity: float,
    distribution: Distribution,
    available: Mapping[str, int] | None = None,
    dense: Collection[str] = (),
) -> dict[str, int]:
    """Return how many weights every tensor keeps.

    Densities are `min(1, scale * weight)` with the weights of `uniform` or `erk` and
    the one `scale` that gives the overall density `1 - sparsity`: a tensor that would
    exceed what it has keeps everything, and the others share the rest. With a
    dictionary, tensors that it names get their own sparsity, all others `sparsity`.

    Args:
        shapes: From tensor path to shape.
        sparsity: Overall fraction removed, in [0, 1).
        distribution: `"uniform"`, `"erk"`, or a dictionary from tensor path to
            sparsity.
        available: From tensor path to the number of weights that it still has.
            Defaults to all.
        dense: Paths of tensors that keep all that they have; the others are sparser
            instead, so that the overall sparsity stays. With a dictionary it is as if
            it gave them the sparsity 0. Defaults to none.

    Returns:
        From tensor path to count. `"erk"` adds up to `round((1 - sparsity) * n)` over
        all n weights exactly; `"uniform"` and dictionaries round in every tensor.

    Raises:
        ValueError: If a tensor would keep nothing, or a dictionary names no tensor.

    Example:
        >>> shapes = {"a": (784, 300), "b": (300, 100), "c": (100, 10)}
        >>> allocate(shapes, 0.95, "uniform")
        {'a': 11760, 'b': 1500, 'c': 50}
        >>> allocate(shapes, 0.95, "erk")
        {'a': 9051, 'b': 3340, 'c': 919}
        >>> allocate(shapes, 0.95, "erk", dense=["c"])
        {'a': 8992, 'b': 3318, 'c': 1000}
    """
    sizes = {path: math.prod(shape) for path, shape in shapes.items()}
    limits = dict(sizes) if available is None else dict(available)
    if isinstance(distribution, Mapping):
        distribution = {**distribution, **dict.fromkeys(dense, 0.0)}
        counts = _counts_from_dictionary(sizes, sparsity, distribution, limits)
    else:
        total = count_beside(sizes, sparsity, {path: limits[path] for path in dense})
        rest = [path for path in shapes if path not in dense]
        weights = _DENSITY_WEIGHTS[distribution](shapes)
        shares = {path: weights[path] * sizes[path] for path in rest}
        exact = _fill(shares, limits, total)
        if distribution == "uniform":
            counts = {path: round(count) for path, count in exact.items()}
        else:
            total = min(total, sum(limits[path] for path in rest))
            counts = _round_to_total(exact, limits, total)
        counts = {path: counts.get(path, limits[path]) for path in shapes}
    check_no_empty_tensor(counts, sizes)
    return counts


def allocate_among(
    eligible: Mapping[str, Mask], sparsity: float, distribution: Distribution
) -> dict[str, int]:
    """Return how many weights every tensor keeps of those that are eligible."""
    shapes = {path: mask.shape for path, mask in eligible.items()}
    return allocate(shapes, sparsity, distribution, kept_counts(eligible))


def count_beside(
    sizes: Mapping[str, int], sparsity: float, dense: Mapping[str, int]
) -> int:
    """Return how many weights are kept in all, without those that dense tensors keep.

    Raises:
        ValueError: If the dense tensors leave less than one weight for each other one.

    Example:
        >>> count_beside({"a": 900, "b": 100}, 0.8, {"b": 100})
        100
    """
    total = round((1.0 - sparsity) * sum(sizes.values())) - sum(dense.values())
    if dense and total < len(sizes) - len(dense):
        raise ValueError(
            f"The dense tensors {sorted(dense)} keep {sum(dense.values())} weights and "
            f"leave {total} for {len(sizes) - len(dense)} others at "
            f"`sparsity`={sparsity}. Choose a lower sparsity, or other dense tensors."
        )
    return total


def check_no_empty_tensor(counts: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """Raise if a tensor keeps nothing, which would cut the network in two."""
    for path, count in counts.items():
        if count < 1:
            raise ValueError(
                f"All {sizes[path]} weights of {path!r} would be removed, and nothing "
                "would pass that layer. Choose a lower sparsity, another "
                "distribution, or leave the layer out with `layers`."
            )


def check_no_empty_mask(masks: Mapping[str, Mask]) -> None:
    """Raise if a mask keeps nothing, see `check_no_empty_tensor`."""
    sizes = {path: mask.size for path, mask in masks.items()}
    check_no_empty_tensor(kept_counts(masks), sizes)


def _counts_from_dictionary(
    sizes: Mapping[str, int],
    sparsity: float,
    overrides: Mapping[str, float],
    limits: Mapping[str, int],
) -> dict[str, int]:
    unknown = sorted(set(overrides) - set(sizes))
    if unknown:
        raise ValueError(
            f"`distribution` must name prunable weights, which are {list(sizes)}. "
            f"Received: {unknown}"
        )
    return {
        path: min(round((1.0 - overrides.get(path, sparsity)) * size), limits[path])
        for path, size in sizes.items()
    }


def _fill(
    shares: Mapping[str, float], limits: Mapping[str, int], total: float
) -> dict[str, float]:
    """Distribute `total` in proportion to `shares`, none beyond its limit."""
    full: dict[str, float] = {}
    while True:
        open_shares = {path: s for path, s in shares.items() if path not in full}
        rest = total - sum(full.values())
        scale = rest / sum(open_shares.values()) if open_shares else 0.0
        over = {p: limits[p] for p, s in open_shares.items() if scale * s > limits[p]}
        if not over:
            return {path: full.get(path, scale * s) for path, s in shares.items()}
        full.update(over)


def _round_to_total(
    exact: Mapping[str, float], limits: Mapping[str, int], total: int
) -> dict[str, int]:
    """Round down, then hand out what is missing by largest remainder."""
    counts = {path: math.floor(value) for path, value in exact.items()}
    by_remainder = sorted(exact, key=lambda path: counts[path] - exact[path])
    missing = total - sum(counts.values())
    for path in by_remainder:
        if missing > 0 and counts[path] < limits[path]:
            counts[path] += 1
            missing -= 1
    return counts
