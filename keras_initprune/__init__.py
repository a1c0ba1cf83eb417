"""Sparse networks in Keras 3 from the first epochs of training.

K-starts and dissipating gradients, after "What to prune and what not to prune at
initialization" (arXiv 2209.02201), as callbacks of `model.fit`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

# The command `initprune` imports what it needs itself, once it has read its arguments:
# TensorFlow takes seconds to load and fills the terminal. Everywhere else this import
# must register the masks with Keras, or saved models would not load. Where exported
# models run there is no Keras: `numpy_runtime` is what can be imported then.
if Path(sys.argv[0]).name not in ("initprune", "initprune.exe") and find_spec("keras"):
    from keras_initprune.callbacks import (
        SET,
        Combination,
        DissipatingGradients,
        GradualMagnitude,
        KStarts,
        OneShotMagnitude,
        RandomPruning,
        RigL,
    )
    from keras_initprune.compaction import compact, compaction_report
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
    from keras_initprune.export import export
    from keras_initprune.lottery import lottery_ticket
    from keras_initprune.pruning import prune, pruning_masks, score_weights
    from keras_initprune.report import report, sparsity
    from keras_initprune.sparse import SparseDense, to_dense, to_sparse
    from keras_initprune.sparse_training import fit_sparse

__all__ = [
    "SET",
    "Combination",
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
