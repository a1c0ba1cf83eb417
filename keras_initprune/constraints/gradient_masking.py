"""Pruned weights get no gradient where it would reach anything but themselves.

A constraint acts after an update, which is too late for what an optimizer computes on
the way: a global norm would count the gradients of weights that are not there, and
averages of weights (`use_ema`) would take up pruned ones between the update and the
constraint. Keras has no hook before the update, so `Optimizer.apply` is wrapped once,
when the first mask is made. Weights without a mask never notice, and optimizers that
update every entry by itself, which need no more than the constraint, pay nothing.
"""

import functools
from typing import Any

import keras
from keras import ops

_WRAPPED = "_initprune_masks_gradients"

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


def mask_gradients() -> None:
    """Have Keras' optimizers leave pruned weights out, if they did not before."""
    inner_apply = keras.optimizers.Optimizer.apply
    if hasattr(inner_apply, _WRAPPED):
        return

    @functools.wraps(inner_apply)
    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
        if not _reaches_others(self):
            return inner_apply(self, grads, trainable_variables)
        variables = trainable_variables
        if variables is None:
            variables = self._trainable_variables
        variables = list(variables)
        kept = [
            _masked_gradient(gradient, variable)
            for gradient, variable in zip(grads, variables, strict=False)
        ]
        # Gradients that match no variable are left for Keras to complain of.
        kept += list(grads)[len(kept) :]
        result = inner_apply(self, kept, trainable_variables)
        if self.use_ema:
            _mask_averages(self)
        return result

    setattr(apply, _WRAPPED, True)
    setattr(keras.optimizers.Optimizer, "apply", apply)  # noqa: B010


def _reaches_others(optimizer: Any) -> bool:
    """Return whether the gradient of one entry has a part in another's update."""
    options = (optimizer.use_ema, optimizer.clipnorm, optimizer.global_clipnorm)
    return any(options) or type(optimizer) not in _ELEMENTWISE


def _mask_of(variable: Any) -> Any:
    mask_for = getattr(getattr(variable, "constraint", None), "mask_for", None)
    return None if mask_for is None else mask_for(variable)


def _masked_gradient(gradient: Any, variable: Any) -> Any:
    mask = _mask_of(variable)
    if gradient is None or mask is None:
        return gradient
    if hasattr(gradient, "indices"):  # Rows of an embedding.
        rows = ops.take(mask, gradient.indices, axis=0)
        values = ops.where(rows, gradient.values, ops.zeros_like(gradient.values))
        return type(gradient)(values, gradient.indices, gradient.dense_shape)
    return ops.where(mask, gradient, ops.zeros_like(gradient))


def _mask_averages(optimizer: Any) -> None:
    # Needed where one entry's update depends on the gradients of others, as in Muon.
    pairs = zip(
        optimizer._trainable_variables,
        optimizer._model_variables_moving_average,
        strict=True,
    )
    for variable, average in pairs:
        mask = _mask_of(variable)
        if mask is not None and average is not None:
            average.assign(ops.where(mask, average, ops.zeros_like(average)))
