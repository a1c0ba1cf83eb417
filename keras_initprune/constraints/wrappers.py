"""Everything of Keras that this package wraps, in one place.

Keras offers no hook for what masks need, so a few of its functions are wrapped when the
package is imported, once per process. Models without masks never notice. A version of
Keras in which one of these functions is missing is refused.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras

from keras_initprune import backend
from keras_initprune.backend.keras_internals import saving_lib
from keras_initprune.constraints import fit_logs, guard, loading, retracing, unsupported
from keras_initprune.constraints.gradient_masking import apply_masked
from keras_initprune.constraints.guard import release_weight
from keras_initprune.constraints.mask_constraint import MaskConstraint

_WRAPPED = "_wrapped_by_keras_initprune"

# What is wrapped: its owner, its name, and what is called with the original instead.
WRAPPERS: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    # Pruned weights get no gradient where it would reach others.
    (keras.optimizers.Optimizer, "apply", apply_masked),
    # Masks are applied by whichever model trains a weight, traced before or after.
    (keras.Model, "make_train_function", retracing.make_train_function),
    # Weights and masks are written in any order, all or none, and come back together.
    (keras.Model, "load_weights", loading.load_weights),
    (keras.layers.Layer, "set_weights", loading.set_weights),
    (saving_lib, "_load_state", loading.load_state),
    # Keras does not quantise layers with masks, and cannot draw masks as images.
    (keras.Model, "quantize", unsupported.quantize),
    (
        keras.callbacks.TensorBoard,
        "_log_weight_as_image",
        unsupported.log_weight_as_image,
    ),
    # Every callback sees the masks and the sparsity that an epoch ends with.
    (keras.callbacks.CallbackList, "set_model", fit_logs.set_model),
    (keras.callbacks.ProgbarLogger, "on_epoch_end", fit_logs.show_epoch),
)
if backend.NAME == "jax":
    WRAPPERS += (
        # After training Keras gives weights their values before it gives masks theirs.
        (keras.Model, "jax_state_sync", guard.written_together),
        # Sums of gradients take part in the optimizer's step, and not in its files.
        (keras.optimizers.Optimizer, "save_own_variables", backend.without_carried),
        (keras.optimizers.Optimizer, "load_own_variables", backend.without_carried),
    )


def wrap_keras() -> None:
    """Wrap Keras' functions, if that has not been done in this process."""
    for owner, name, wrapper in WRAPPERS:
        original = getattr(owner, name, None)
        if original is None:
            raise ImportError(
                f"keras_initprune does not know Keras {keras.__version__}: it has no "
                f"`{name}` where other versions have it. Use a version of Keras that "
                "keras_initprune was tested with."
            )
        if not hasattr(original, _WRAPPED):
            setattr(owner, name, _wrapped(original, wrapper))
    _guard_with_the_constraint()


def _wrapped(original: Any, wrapper: Callable[..., Any]) -> Any:
    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(wrapped, _WRAPPED, True)
    return wrapped


def _guard_with_the_constraint() -> None:
    """A weight is guarded as soon as a mask is its constraint."""
    inherited = keras.Variable.constraint
    if hasattr(inherited.fset, _WRAPPED):
        return

    def set_constraint(variable: Any, constraint: Any) -> None:
        inherited.fset(variable, constraint)
        if isinstance(constraint, MaskConstraint):
            constraint.guard(variable)
        else:
            release_weight(variable)

    setattr(set_constraint, _WRAPPED, True)
    guarded = property(inherited.fget, set_constraint, doc=inherited.__doc__)
    setattr(keras.Variable, "constraint", guarded)  # noqa: B010
