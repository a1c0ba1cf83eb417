"""Masks as Keras constraints: installed on, read from and taken off a model."""

from keras_initprune.constraints.installation import (
    forget_compiled_functions,
    install_masks,
    remove_masks,
    restore_masks,
    strategy_scope,
)
from keras_initprune.constraints.keras_internals import wrap_keras
from keras_initprune.constraints.mask_constraint import MaskConstraint
from keras_initprune.constraints.optimizers import (
    check_training_is_supported,
    innermost_optimizer,
    training_step,
    updating_optimizer,
    updating_optimizers,
)
from keras_initprune.constraints.projection import (
    get_masks,
    mask_variable,
    masked_weights,
    project,
    set_masks,
)

wrap_keras()

__all__ = [
    "MaskConstraint",
    "check_training_is_supported",
    "forget_compiled_functions",
    "get_masks",
    "innermost_optimizer",
    "install_masks",
    "mask_variable",
    "masked_weights",
    "project",
    "remove_masks",
    "restore_masks",
    "set_masks",
    "strategy_scope",
    "training_step",
    "updating_optimizer",
    "updating_optimizers",
]
