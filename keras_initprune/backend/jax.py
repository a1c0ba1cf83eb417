"""JAX: training steps without state, in which masks and sums have to take part.

While Keras trains on JAX its variables have no values: a step gets them as arguments
and returns new ones. `backend` says what the functions do.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import keras
from keras import ops

from keras_initprune.backend.keras_internals import wide_types

__all__ = [
    "assign_if",
    "carry",
    "compiled",
    "drop",
    "enable_float64",
    "make_train_function",
    "mask_in_step",
    "masked",
    "settle",
    "value_and_gradients",
    "without_carried",
]

# The values of the untrained variables in the step that is being traced, by id.
_STEP: ContextVar[Mapping[int, Any]] = ContextVar("step", default={})  # noqa: B039
_CARRIED = "_initprune_is_carried"


def value_and_gradients(
    function: Callable[[dict[str, Any]], tuple[Any, Any]], values: Mapping[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return what a function returns and its first result's gradient."""
    (total, rest), gradients = jax.value_and_grad(function, has_aux=True)(dict(values))
    # JAX sorts dictionaries by their keys.
    return total, rest, {name: gradients[name] for name in values}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of tensors compiled."""
    return jax.jit(function)


@contextlib.contextmanager
def enable_float64() -> Iterator[None]:
    """Have `keras.ops` compute in float64 where their inputs are, for a while."""
    with jax.enable_x64(True), wide_types():
        yield


def make_train_function(
    inner: Callable[..., Any], model: keras.Model, force: bool
) -> Any:
    """Do what `Model.make_train_function` does, so that steps see the masks."""
    step = model.train_step
    own = vars(model).get("train_step")

    def step_with_masks(state: Any, data: Any) -> Any:
        ids = map(id, model.non_trainable_variables)
        token = _STEP.set(dict(zip(ids, state[1], strict=True)))
        try:
            return step(state, data)
        finally:
            _STEP.reset(token)

    vars(model)["train_step"] = step_with_masks
    try:
        return inner(model, force=force)
    finally:
        if own is None:
            del vars(model)["train_step"]
        else:
            vars(model)["train_step"] = own


def mask_in_step(mask: keras.Variable) -> Any:
    """Return the value of a mask, within a training step or outside."""
    value = _STEP.get().get(id(mask))
    return mask.value if value is None else value


def masked(mask: keras.Variable, value: Any) -> Any:
    """Return a value with zeros where a mask removes it."""
    tensor = ops.convert_to_tensor(value)
    return jnp.where(mask_in_step(mask), tensor, jnp.zeros_like(tensor))


def settle(model: keras.Model) -> None:
    """Have a model's variables hold what it trains, in the middle of an epoch."""
    model.jax_state_sync()


def carry(optimizer: Any, variables: Sequence[keras.Variable]) -> None:
    """Have variables keep what a training step assigns to them.

    They count as the optimizer's, whose step returns them, but are not saved with it.
    """
    for variable in variables:
        setattr(variable, _CARRIED, True)
        optimizer._variables.append(variable)


def drop(optimizer: Any, variables: Sequence[keras.Variable]) -> None:
    """Undo `carry`."""
    dropped = set(map(id, variables))
    optimizer._variables[:] = [v for v in optimizer._variables if id(v) not in dropped]


def without_carried(inner: Callable[..., Any], optimizer: Any, store: Any) -> Any:
    """Save or load an optimizer's own variables, and no others."""
    parts = [optimizer, *getattr(optimizer, "optimizers", ())]
    if hasattr(optimizer, "inner_optimizer"):
        parts.append(optimizer.inner_optimizer)
    before = [list(part._variables) for part in parts]
    for part, variables in zip(parts, before, strict=True):
        drop(part, [v for v in variables if hasattr(v, _CARRIED)])
    try:
        return inner(optimizer, store)
    finally:
        for part, variables in zip(parts, before, strict=True):
            part._variables[:] = variables


def assign_if(
    condition: Any, variables: Sequence[keras.Variable], values: Callable[[], list[Any]]
) -> None:
    """Assign values to variables within a training step, computed only if wanted."""
    # What is assigned within a branch would be lost.
    kept = ops.cond(condition, values, lambda: [v.value for v in variables])
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)
