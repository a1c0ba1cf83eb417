"""The settings table: what the contract suite needs to know of every method.

A new callback, fitness, selection or criterion of movement adds its row here and is
covered by `test_contract.py` and `test_resuming.py` at once. What takes long is tested
on a row of every kind of callback, and on the others with the whole matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from matrix import cells

import keras_initprune
from keras_initprune import (
    SET,
    Combination,
    DissipatingGradients,
    GradualMagnitude,
    GraNet,
    KStarts,
    OneShotMagnitude,
    RandomPruning,
    RigL,
)
from keras_initprune.arrays.selection import SELECTIONS
from keras_initprune.callbacks.phases import PruningCallback
from keras_initprune.criteria.dissipation import DISSIPATION
from keras_initprune.criteria.fitness import FITNESS

# Every callback that the package offers, by name.
OFFERED = {
    name: kind
    for name in keras_initprune.__all__
    if isinstance(kind := getattr(keras_initprune, name), type)
    and issubclass(kind, PruningCallback)
}


@dataclass(frozen=True)
class Setting:
    """One way to prune.

    Attributes:
        make: Makes the callbacks, with a seed.
        sparsity: Fraction of weights that is removed when training ends.
        epochs: Epochs that the callbacks need.
        seeded: Whether another seed gives other masks.
        rewires: Whether the sparsity is reached at once and only the masks change.
        gradual: Whether weights go within an epoch too, before its loss is known.
        keeps_zeros: Whether weights that are kept may be zero, as those that begin
            there and never get a gradient.
    """

    make: Callable[[int], list[PruningCallback]]
    sparsity: float = 0.8
    epochs: int = 2
    seeded: bool = True
    rewires: bool = False
    gradual: bool = False
    keeps_zeros: bool = False


CALLBACKS: dict[str, Setting] = {
    "random": Setting(lambda seed: [RandomPruning(0.8, seed=seed)], epochs=0),
    "random_uniform": Setting(
        lambda seed: [RandomPruning(0.8, distribution="uniform", seed=seed)], epochs=0
    ),
    "hand_over": Setting(
        lambda seed: [
            KStarts(4, 0.5, epochs=1, seed=seed),
            DissipatingGradients(0.8, epochs=2),
        ],
        epochs=3,
    ),
    "k_starts_rewound": Setting(
        lambda seed: [KStarts(4, 0.8, epochs=2, rewind=True, seed=seed)]
    ),
    **{
        f"k_starts_{fitness}": Setting(
            lambda seed, fitness=fitness: [KStarts(4, 0.8, 2, fitness, seed=seed)]
        )
        for fitness in FITNESS
    },
    **{
        f"k_starts_{selection}": Setting(
            lambda seed, selection=selection: [
                KStarts(4, 0.8, 2, selection=selection, seed=seed)
            ]
        )
        for selection in SELECTIONS
    },
    **{
        f"dissipating_{criterion}": Setting(
            lambda seed, criterion=criterion: [
                DissipatingGradients(0.8, epochs=2, criterion=criterion)
            ],
            seeded=False,
            gradual=True,
        )
        for criterion in DISSIPATION
    },
    "combination": Setting(
        lambda seed: [
            # Enough restarts, early enough, for the seed to show in so few steps.
            Combination(
                0.8, epochs=2, k=1, restarts=1.0, curve=0.5, interval=1, seed=seed
            )
        ],
        gradual=True,
        keeps_zeros=True,
    ),
    "combination_never_dense": Setting(
        lambda seed: [
            Combination(0.8, epochs=2, start_sparsity=0.6, interval=3, seed=seed)
        ],
        gradual=True,
        keeps_zeros=True,
    ),
    "one_shot_magnitude": Setting(
        lambda seed: [OneShotMagnitude(0.8, epochs=2)], seeded=False
    ),
    "gradual_magnitude": Setting(
        lambda seed: [GradualMagnitude(0.8, epochs=2, interval=3)], seeded=False
    ),
    "granet": Setting(
        lambda seed: [GraNet(0.8, epochs=2, interval=3)],
        seeded=False,
        gradual=True,
        keeps_zeros=True,
    ),
    "rigl": Setting(
        lambda seed: [RigL(0.8, epochs=2, interval=3, seed=seed)], rewires=True
    ),
    "set": Setting(
        lambda seed: [SET(0.8, epochs=2, interval=3, seed=seed)],
        rewires=True,
        keeps_zeros=True,
    ),
}

# What removes and what grows, at once and in steps.
_BY_DEFAULT = ("hand_over", "combination", "gradual_magnitude", "rigl")
every_setting = pytest.mark.parametrize("setting", CALLBACKS.values(), ids=CALLBACKS)
every_kind = pytest.mark.parametrize("setting", cells(CALLBACKS, _BY_DEFAULT))
