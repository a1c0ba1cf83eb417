"""What differs between Keras' backends, chosen once, and what is private to Keras.

The functions here say what is to be done, and do what suits most backends. Each
backend's file has those that it needs in another way. Whatever `keras.ops` offers is
not here.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

NAME: str = keras.config.backend()


def is_float(value: Any) -> bool:
    """Return whether a value is a tensor of floats."""
    return keras.ops.is_tensor(value) and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(value.dtype)
    )


def check_tensorflow(what: str, instead: str, or_torch: bool = False) -> None:
    """Raise unless TensorFlow is Keras' backend.

    Args:
        what: What needs TensorFlow, as the beginning of a sentence.
        instead: What to do elsewhere, as the end of one.
        or_torch: Whether PyTorch does as well. Defaults to False.

    Raises:
        ValueError: If Keras runs on another backend.
    """
    if NAME == "tensorflow" or (or_torch and NAME == "torch"):
        return
    theirs = "TensorFlow's and PyTorch's" if or_torch else "TensorFlow's"
    raise ValueError(
        f"{what} {theirs}: {instead}, or set KERAS_BACKEND=tensorflow before "
        f"Keras is imported. Received: the backend {NAME!r}"
    )


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


# What is above gives way to a function of the same name.
if NAME == "tensorflow":
    from keras_initprune.backend.tensorflow import *  # noqa: F403
elif NAME == "jax":
    from keras_initprune.backend.jax import *  # noqa: F403
else:
    from keras_initprune.backend.torch import *  # noqa: F403
