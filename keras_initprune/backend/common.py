"""The seam between this package and Keras' backends: what each function does.

What is here suits a backend whose file has no function of the same name.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of tensors compiled, where that saves time."""
    return function


def enable_float64() -> contextlib.AbstractContextManager:
    """Have `keras.ops` compute in float64 where their inputs are, for a while."""
    return contextlib.nullcontext()


def functions_run_eagerly(wanted: bool) -> contextlib.AbstractContextManager:
    """Have functions that users compiled run eagerly, or not, for a while."""
    return contextlib.nullcontext()


def random_numbers_kept() -> contextlib.AbstractContextManager:
    """Leave random numbers that Keras' seeds do not decide as they were before."""
    return contextlib.nullcontext()


def random_state() -> Any:
    """Return the state of random numbers that Keras' seeds do not decide, or None."""


def set_random_state(state: Any) -> None:
    """Go on from what `random_state` returned."""


def own_moments() -> contextlib.AbstractContextManager:
    """Let moments be differentiated twice, for a while and in this thread."""
    return contextlib.nullcontext()


def linear(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a linear function that can be differentiated as often as one likes."""
    return function


def optimizer_class(optimizer: Any) -> type:
    """Return the public class of an optimizer."""
    return type(optimizer)


def make_train_function(
    inner: Callable[..., Any], model: keras.Model, force: bool
) -> Any:
    """Do what `Model.make_train_function` does, so that steps see the masks."""
    return inner(model, force=force)


def mask_in_step(mask: keras.Variable) -> Any:
    """Return the value of a mask, within a training step or outside."""
    return ops.convert_to_tensor(mask)


def is_masked(mask: keras.Variable, value: Any) -> bool:
    """Return whether a value is known to come from `masked`, with the same mask."""
    return False


def is_own_value(variable: keras.Variable, value: Any) -> bool:
    """Return whether a value is what a variable holds, so that nothing is written."""
    return False


def settle(model: keras.Model) -> None:
    """Have a model's variables hold what it trains, in the middle of an epoch."""


def carry(optimizer: Any, variables: Sequence[keras.Variable]) -> None:
    """Have variables keep what a training step assigns to them."""


def drop(optimizer: Any, variables: Sequence[keras.Variable]) -> None:
    """Undo `carry`."""


def assign_if(
    condition: Any, variables: Sequence[keras.Variable], values: Callable[[], list[Any]]
) -> None:
    """Assign values to variables within a training step, computed only if wanted."""

    def assign() -> Any:
        for variable, value in zip(variables, values(), strict=True):
            variable.assign(value)
        return ops.ones(())

    ops.cond(condition, assign, lambda: ops.zeros(()))


def across_replicas(gradients: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the gradients of the global batch, and those to go on with."""
    return gradients, gradients
