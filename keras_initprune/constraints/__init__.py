"""Masks as Keras constraints: installed on, read from and taken off a model."""

from keras_initprune.constraints.loading import copy_weights
from keras_initprune.constraints.mask_constraint import MaskConstraint
from keras_initprune.constraints.masks import (
    change_masks,
    find_leaks,
    get_masks,
    install_mask,
    install_masks,
    mask_variable,
    masked_weights,
    masks_of,
    project,
    remove_masks,
    restore_masks,
    set_masks,
)
from keras_initprune.constraints.training import (
    check_training_is_supported,
    forget_compiled_functions,
    innermost_optimizer,
    strategy_scope,
    training_step,
    updating_optimizer,
    updating_optimizers,
)
from keras_initprune.constraints.wrappers import wrap_keras

wrap_keras()

__all__ = [
    "MaskConstraint",
    "change_masks",
    "check_training_is_supported",
    "copy_weights",
    "find_leaks",
    "forget_compiled_functions",
    "get_masks",
    "innermost_optimizer",
    "install_mask",
    "install_masks",
    "mask_variable",
    "masked_weights",
    "masks_of",
    "project",
    "remove_masks",
    "restore_masks",
    "set_masks",
    "strategy_scope",
    "training_step",
    "updating_optimizer",
    "updating_optimizers",
]
