"""Sparse networks in Keras 3 from the first epochs of training.

K-starts and dissipating gradients, after "What to prune and what not to prune at
initialization" (arXiv 2209.02201), as callbacks of `model.fit`.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def _check_backend(name: str) -> None:
    if name != "tensorflow":
        raise ImportError(
            "keras_initprune runs on Keras' TensorFlow backend. Set the environment "
            "variable KERAS_BACKEND=tensorflow before Keras is imported. "
            f"Received: the backend {name!r}"
        )


# Before Keras is imported, which would complain first where a backend is missing.
if find_spec("keras"):
    _check_backend(os.environ.get("KERAS_BACKEND") or "tensorflow")

# The command `initprune` imports what it needs itself, once it has read its arguments:
# TensorFlow takes seconds to load and fills the terminal. Everywhere else this import
# must register the masks with Keras, or saved models would not load. Where exported
# models run there is no Keras: `numpy_runtime` is what can be imported then.
if Path(sys.argv[0]).name not in ("initprune", "initprune.exe") and find_spec("keras"):
    import keras

    _check_backend(keras.config.backend())  # A file in the home directory may name it.

    from keras_initprune.callbacks import (
        SET,
        DissipatingGradients,
        GradualMagnitude,
        KStarts,
        OneShotMagnitude,
        RandomPruning,
        RigL,
    )
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
    from keras_initprune.constraints.weights import register_prunable
    from keras_initprune.deploy.compaction import compact, compaction_report
    from keras_initprune.deploy.export import export
    from keras_initprune.deploy.fit_sparse import fit_sparse
    from keras_initprune.deploy.sparse.conversion import to_dense, to_sparse
    from keras_initprune.deploy.sparse.layer import SparseDense
    from keras_initprune.paths.report import report, sparsity
    from keras_initprune.pruning import prune, pruning_masks, score_weights
    from keras_initprune.research.lottery import lottery_ticket


__all__ = [
    "SET",
    "DissipatingGradients",
    "GradualMagnitude",
    "KStarts",
    "MaskConstraint",
    "OneShotMagnitude",
    "RandomPruning",
    "RigL",
    "SparseDense",
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
    "to_dense",
    "to_sparse",
]
__version__ = "0.1.0"
