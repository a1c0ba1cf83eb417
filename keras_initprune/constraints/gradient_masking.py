"""Pruned weights get no gradient where it would reach anything but themselves.

A constraint acts after an update, which is too late for what an optimizer computes on
the way: a global norm would count the gradients of weights that are not there, and
averages of weights (`use_ema`) would take up pruned ones between the update and the
constraint. Keras has no hook before the update, so `Optimizer.apply` is wrapped.
Weights without a mask never notice, and optimizers that update every entry by itself,
which need no more than the constraint, pay nothing.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_initprune import backend
from keras_initprune.constraints.mask_constraint import mask_of

# Their update of an entry depends on no other entry, norms and averages aside.
_ELEMENTWISE = (
    keras.optimizers.SGD,
    keras.optimizers.RMSprop,
    keras.optimizers.Adam,
    keras.optimizers.AdamW,
    keras.optimizers.Adadelta,
    keras.optimizers.Adagrad,
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
    keras.optimizers.Ftrl,
    keras.optimizers.Lion,
)


def apply_masked(
    inner_apply: Callable[..., Any],
    optimizer: Any,
    grads: Any,
    trainable_variables: Any = None,
) -> Any:
    """Do what `Optimizer.apply` does, without the gradients of pruned entries."""
    if not _reaches_others(optimizer):
        return inner_apply(optimizer, grads, trainable_variables)
    variables = trainable_variables
    if variables is None:
        variables = optimizer._trainable_variables
    variables = list(variables)
    kept = [
        _masked_gradient(gradient, variable)
        for gradient, variable in zip(grads, variables, strict=False)
    ]
    # Gradients that match no variable are left for Keras to complain of.
    kept += list(grads)[len(kept) :]
    result = inner_apply(optimizer, kept, trainable_variables)
    if optimizer.use_ema:
        _mask_averages(optimizer)
    return result


def _reaches_others(optimizer: Any) -> bool:
    """Return whether the gradient of one entry has a part in another's update."""
    options = (optimizer.use_ema, optimizer.clipnorm, optimizer.global_clipnorm)
    return any(options) or backend.optimizer_class(optimizer) not in _ELEMENTWISE


def _masked_gradient(gradient: Any, variable: Any) -> Any:
    mask = mask_of(variable)
    if gradient is None or mask is None:
        return gradient
    if hasattr(gradient, "dense_shape"):  # Rows of an embedding.
        rows = ops.take(backend.mask_in_step(mask), gradient.indices, axis=0)
        values = ops.where(rows, gradient.values, ops.zeros_like(gradient.values))
        return type(gradient)(values, gradient.indices, gradient.dense_shape)
    return backend.masked(mask, gradient)


def _mask_averages(optimizer: Any) -> None:
    # Needed where one entry's update depends on the gradients of others, as in Muon.
    pairs = zip(
        optimizer._trainable_variables,
        optimizer._model_variables_moving_average,
        strict=True,
    )
    for variable, average in pairs:
        mask = mask_of(variable)
        if mask is not None and average is not None:
            average.assign(backend.masked(mask, average))
