"""Sparse networks in Keras 3 from the first epochs of training.

K-starts and dissipating gradients, after "What to prune and what not to prune at
initialization" (arXiv 2209.02201), as callbacks of `model.fit`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from keras_initprune.imports import after_import, backend_of_choice

if TYPE_CHECKING:
    from keras_initprune.arrays.patterns import NOfM
    from keras_initprune.callbacks.baselines import (
        GradualMagnitude,
        OneShotMagnitude,
        RandomPruning,
    )
    from keras_initprune.callbacks.combination import Combination
    from keras_initprune.callbacks.dissipating_gradients import DissipatingGradients
    from keras_initprune.callbacks.drop_and_grow import SET, GraNet, RigL
    from keras_initprune.callbacks.k_starts import KStarts
    from keras_initprune.constraints import (
        MaskConstraint,
        find_leaks,
        get_masks,
        install_masks,
        project,
        remove_masks,
        restore_masks,
        set_masks,
    )
    from keras_initprune.constraints.layers import Layers
    from keras_initprune.constraints.weights import register_prunable
    from keras_initprune.criteria.data import class_balanced
    from keras_initprune.deploy.compaction.compact import compact, compaction_report
    from keras_initprune.deploy.export import export
    from keras_initprune.deploy.fit_sparse import fit_sparse
    from keras_initprune.deploy.sparse.conversion import to_dense, to_sparse
    from keras_initprune.deploy.sparse.layer import SparseDense
    from keras_initprune.pruning.problems import score_weights
    from keras_initprune.pruning.prune import prune, pruning_masks
    from keras_initprune.reports.report import report, sparsity
    from keras_initprune.reports.summary import summary
    from keras_initprune.research.lottery import lottery_ticket

__all__ = [
    "SET",
    "Combination",
    "DissipatingGradients",
    "GraNet",
    "GradualMagnitude",
    "KStarts",
    "Layers",
    "MaskConstraint",
    "NOfM",
    "OneShotMagnitude",
    "RandomPruning",
    "RigL",
    "SparseDense",
    "class_balanced",
    "compact",
    "compaction_report",
    "export",
    "find_leaks",
    "fit_sparse",
    "get_masks",
    "install_masks",
    "lottery_ticket",
    "project",
    "prune",
    "pruning_masks",
    "register_prunable",
    "remove_masks",
    "report",
    "restore_masks",
    "score_weights",
    "set_masks",
    "sparsity",
    "summary",
    "to_dense",
    "to_sparse",
]
__version__ = "0.1.0"

_BACKENDS = ("tensorflow", "jax", "torch")

# Names are imported when they are first used: a backend takes seconds to load, and
# `numpy_runtime` runs where there is none.
_NAMES = {
    "arrays.patterns": ["NOfM"],
    "callbacks.baselines": ["GradualMagnitude", "OneShotMagnitude", "RandomPruning"],
    "callbacks.combination": ["Combination"],
    "callbacks.dissipating_gradients": ["DissipatingGradients"],
    "callbacks.drop_and_grow": ["GraNet", "RigL", "SET"],
    "callbacks.k_starts": ["KStarts"],
    "constraints": [
        "MaskConstraint",
        "find_leaks",
        "get_masks",
        "install_masks",
        "project",
        "remove_masks",
        "restore_masks",
        "set_masks",
    ],
    "constraints.layers": ["Layers"],
    "constraints.weights": ["register_prunable"],
    "criteria.data": ["class_balanced"],
    "deploy.compaction.compact": ["compact", "compaction_report"],
    "deploy.export": ["export"],
    "deploy.fit_sparse": ["fit_sparse"],
    "deploy.sparse.conversion": ["to_dense", "to_sparse"],
    "deploy.sparse.layer": ["SparseDense"],
    "reports.report": ["report", "sparsity"],
    "reports.summary": ["summary"],
    "pruning.problems": ["score_weights"],
    "pruning.prune": ["prune", "pruning_masks"],
    "research.lottery": ["lottery_ticket"],
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}
# Modules that are public here and live in a folder.
_MODULES = {
    "numpy_runtime": "deploy.numpy_runtime",
    "sanity_checks": "research.sanity_checks",
}


def __getattr__(name: str) -> Any:
    home = f"{__name__}.{_HOMES.get(name) or _MODULES.get(name, name)}"
    if name not in _HOMES and (name.startswith("_") or find_spec(home) is None):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(home)
    value = getattr(module, name) if name in _HOMES else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    special = [name for name in globals() if name.startswith("__")]
    return sorted({*special, *__all__, *_MODULES, "criteria", "lab", "plots", "tuner"})


def _register() -> None:
    """Let Keras know the classes that saved models are made of."""
    import keras

    _check_backend(keras.config.backend())
    import_module(f"{__name__}.constraints")
    import_module(f"{__name__}.deploy.sparse.layer")


def _check_backend(name: str) -> None:
    if name not in _BACKENDS:
        raise ImportError(
            f"keras_initprune runs on Keras' backends {', '.join(_BACKENDS)}. Set the "
            "environment variable KERAS_BACKEND to one of them before Keras is "
            f"imported. Received: the backend {name!r}"
        )
    if find_spec(name) is None:
        there = [backend for backend in _BACKENDS if find_spec(backend)]
        raise ImportError(
            f"Keras' backend {name!r} is not installed: pip install "
            f"'keras_initprune[{name}]'"
            + (f", or set KERAS_BACKEND={there[0]}, which is." if there else "."),
            name=name,
        )


# Before Keras is imported, which would complain first where a backend is missing.
if find_spec("keras"):
    _check_backend(backend_of_choice())

after_import("keras", _register)
