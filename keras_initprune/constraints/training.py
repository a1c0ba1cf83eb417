"""What masks need of training: gradients, optimizers and the training step.

A constraint acts after an update, which is too late for what an optimizer computes on
the way: a global norm would count the gradients of weights that are not there, and
averages of weights (`use_ema`) would take up pruned ones between the update and the
constraint. Keras has no hook before the update, so `Optimizer.apply` is wrapped.
Weights without a mask never notice, and optimizers that update every entry by itself,
which need no more than the constraint, pay nothing.
"""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_initprune import backend
from keras_initprune.constraints.mask_constraint import mask_of

# A weight's slot and the value that a new optimizer would begin it with.
Slot = tuple[keras.Variable, float]

_UNSUPPORTED_STRATEGIES = (
    "MultiWorkerMirroredStrategy",
    "CollectiveAllReduceStrategy",
    "ParameterServerStrategy",
    "ParameterServerStrategyV2",
)

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

# How often constraints have changed, now and when a model's step was last traced.
_state = {"version": 0}
_traced: Any = weakref.WeakKeyDictionary()


def innermost_optimizer(model: keras.Model) -> Any:
    """Return the optimizer that sees unscaled gradients, or None before `compile`."""
    optimizer: Any = getattr(model, "optimizer", None)
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def updating_optimizers(model: keras.Model) -> list[Any]:
    """Return the optimizers that update weights: one, or those of `MultiOptimizer`."""
    optimizer = innermost_optimizer(model)
    if optimizer is None:
        return []
    return list(getattr(optimizer, "optimizers", [optimizer]))


def updating_optimizer(model: keras.Model, weight: keras.Variable) -> Any:
    """Return the optimizer that updates a weight of a compiled model."""
    optimizer = innermost_optimizer(model)
    if hasattr(optimizer, "optimizers"):
        return optimizer._optimizer_map(weight)
    return optimizer


def training_step(model: keras.Model) -> int:
    """Return how many steps a compiled model's optimizer has taken."""
    return int(ops.convert_to_numpy(innermost_optimizer(model)._iterations))


def check_training_is_supported(model: keras.Model) -> None:
    """Raise if Keras itself fails in the way in which a model is to be trained.

    Raises:
        ValueError: Names the limitation of Keras and the way around it.
    """
    strategy = getattr(model, "distribute_strategy", None)
    name = type(strategy).__name__
    if name in _UNSUPPORTED_STRATEGIES:
        raise ValueError(
            f"Keras 3 does not train under `{name}`: it takes the replicas of one "
            "machine only. Use `MirroredStrategy` on every machine, and several "
            "machines as workers of one KerasTuner search. Received: a model made "
            f"under strategy={name}"
        )
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    steps = [o.gradient_accumulation_steps or 0 for o in updating_optimizers(model)]
    if replicas > 1 and any(steps):
        raise ValueError(
            "Keras 3 cannot accumulate gradients on several replicas: "
            "`gradient_accumulation_steps` must be None there. Use a larger batch, or "
            "train on one device. Received: "
            f"gradient_accumulation_steps={max(steps)} on {replicas} replicas"
        )


def optimizer_slots(model: keras.Model) -> dict[int, list[Slot]]:
    """Return what the optimizers keep for every weight, by the id of the weight.

    Slots of another shape than the weight's, such as factored moments, belong to no
    single entry of it.
    """
    slots: dict[int, list[Slot]] = {}
    for optimizer in updating_optimizers(model):
        for name, kept in slot_lists(optimizer).items():
            # Adagrad and Ftrl begin sums of squares above zero and divide by them.
            is_sum = name == "_accumulators"
            initial = optimizer.initial_accumulator_value if is_sum else 0.0
            for weight, slot in zip(optimizer._trainable_variables, kept, strict=True):
                if slot is not None and slot.shape == weight.shape:
                    slots.setdefault(id(weight), []).append((slot, initial))
    return slots


def slot_lists(optimizer: Any) -> dict[str, list[Any]]:
    """Return an optimizer's lists of one variable for every trainable one, by name.

    None stands for variables that it keeps no such slot of.
    """
    count = len(optimizer._trainable_variables)
    return {
        name: kept
        for name, kept in vars(optimizer).items()
        if name not in ("_trainable_variables", "_variables", "_tracker")
        and isinstance(kept, list)
        and len(kept) == count
        and all(slot is None or isinstance(slot, keras.Variable) for slot in kept)
    }


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
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(optimizer._trainable_variables, averages, strict=True):
        mask = mask_of(variable)
        if mask is not None and average is not None:
            average.assign(backend.masked(mask, average))


def masks_changed() -> None:
    """Note that constraints have changed, so that training functions are too old."""
    _state["version"] += 1


def make_train_function(
    inner: Callable[..., Any], model: keras.Model, force: bool = False
) -> Any:
    """Do what `Model.make_train_function` does, and trace anew if masks are newer.

    A step that was traced before a mask was installed never applies it, whichever model
    the mask was installed on: a model inside, or one that shares a layer.
    """
    stale = _traced.get(model, 0) < _state["version"]
    result = backend.make_train_function(inner, model, force or stale)
    _traced[model] = _state["version"]
    return result


def strategy_scope(model: keras.Model) -> contextlib.AbstractContextManager:
    """Return the scope in which variables of a model have to be created."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def forget_compiled_functions(model: keras.Model) -> None:
    """Have Keras trace the training step anew, or it would keep the old constraints."""
    if getattr(model, "train_function", None) is not None:
        model.make_train_function(force=True)
