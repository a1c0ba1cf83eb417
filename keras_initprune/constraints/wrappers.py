"""Everything of Keras that this package wraps, in one place.

Keras offers no hook for what masks need, so a few of its functions are wrapped when the
package is imported, once per process. Models without masks never notice. A version of
Keras in which one of these functions is missing is refused.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_initprune import backend
from keras_initprune.backend.keras_internals import saving_lib
from keras_initprune.constraints import loading, training
from keras_initprune.constraints.mask_constraint import (
    MaskConstraint,
    release_weight,
    written_together,
)
from keras_initprune.constraints.masks import masked_weights, masks_of
from keras_initprune.constraints.weights import named_layers

_WRAPPED = "_wrapped_by_keras_initprune"
# What the names of the layers' sparsities begin with in the logs.
_PER_LAYER = "sparsity/"


class SparsityLogs(keras.callbacks.Callback):
    """Adds `sparsity` to the logs of an epoch, and `sparsity/LAYER` for every layer.

    They count the weights that carry a mask, and what sparse layers stand for: the
    fraction that is removed.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add them for all callbacks that come later."""
        if logs is not None:
            logs.update(_sparsity_logs(self.model))


def _sparsity_logs(model: keras.Model) -> dict[str, float]:
    """Return what is logged of a model; empty if nothing in it can be sparse."""
    layers: dict[str, list[tuple[int, int]]] = {
        name: [layer.kept_and_all]
        for name, layer in named_layers(model)
        if hasattr(layer, "kept_and_all")
    }
    for path, mask in masks_of(masked_weights(model)).items():
        counts = int(np.count_nonzero(mask)), mask.size
        layers.setdefault(path.rpartition("/")[0], []).append(counts)
    if not layers:
        return {}
    everything = [counts for layer in layers.values() for counts in layer]
    each = {_PER_LAYER + path: _sparsity(counts) for path, counts in layers.items()}
    return {"sparsity": _sparsity(everything), **each}


def _set_model(inner: Callable[..., Any], container: Any, model: Any) -> None:
    """Do what `CallbackList.set_model` does, with callbacks that change masks in front.

    Whatever logs, saves or compares an epoch sees what is left when it is over. Only
    `BackupAndRestore` comes earlier: it must bring back the weights first.
    """
    # Keras keeps a history of `fit` alone.
    is_there = any(isinstance(each, SparsityLogs) for each in container.callbacks)
    if container._history is not None and not is_there:
        container.callbacks.append(SparsityLogs())
    container.callbacks.sort(key=_rank)
    inner(container, model)


def _show_epoch(
    inner: Callable[..., Any], progress: Any, epoch: int, logs: Any = None
) -> None:
    """Do what `ProgbarLogger.on_epoch_end` does, without a number for every layer."""
    logs = {k: v for k, v in (logs or {}).items() if not k.startswith(_PER_LAYER)}
    inner(progress, epoch, logs)


def _rank(callback: Any) -> int:
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        return 0
    if getattr(callback, "changes_masks", False):
        return 1
    return 2 if isinstance(callback, SparsityLogs) else 3


def _sparsity(counts: list[tuple[int, int]]) -> float:
    kept, size = map(sum, zip(*counts, strict=True))
    return 1.0 - kept / size


def _quantize(
    inner: Callable[..., Any], model: keras.Model, *args: Any, **kwargs: Any
) -> Any:
    """Do what `Model.quantize` does, unless it would leave masked layers out."""
    parts = model._flatten_layers(include_self=False)
    if any(isinstance(part, MaskConstraint) for part in parts):
        raise ValueError(
            f"Keras does not quantise layers with masks, which {model.name!r} has: "
            "call `remove_masks(model)` first. Zeros stay zero in 8 and in 4 bits; "
            "what is trained on in float8 becomes dense."
        )
    return inner(model, *args, **kwargs)


def _log_weight_as_image(
    inner: Callable[..., Any], callback: Any, weight: Any, *args: Any
) -> Any:
    """Do what `TensorBoard` does, which has no images of booleans."""
    if weight.dtype == "bool":
        weight = keras.ops.cast(weight, "float32")
    return inner(callback, weight, *args)


def _set_constraint(inner: Callable[..., Any], variable: Any, constraint: Any) -> None:
    """Set a variable's constraint; it is guarded as long as that is a mask."""
    inner(variable, constraint)
    if isinstance(constraint, MaskConstraint):
        constraint.guard(variable)
    else:
        release_weight(variable)


# What is wrapped: its owner, its name, and what is called with the original instead.
WRAPPERS: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    # Pruned weights get no gradient where it would reach others.
    (keras.optimizers.Optimizer, "apply", training.apply_masked),
    # Masks are applied by whichever model trains a weight, traced before or after.
    (keras.Model, "make_train_function", training.make_train_function),
    # Weights and masks are written in any order, all or none, and come back together.
    (keras.Model, "load_weights", loading.load_weights),
    (keras.layers.Layer, "set_weights", loading.set_weights),
    (saving_lib, "_load_state", loading.load_state),
    # Keras does not quantise layers with masks, and cannot draw masks as images.
    (keras.Model, "quantize", _quantize),
    (keras.callbacks.TensorBoard, "_log_weight_as_image", _log_weight_as_image),
    # Every callback sees the masks and the sparsity that an epoch ends with.
    (keras.callbacks.CallbackList, "set_model", _set_model),
    (keras.callbacks.ProgbarLogger, "on_epoch_end", _show_epoch),
)
if backend.NAME == "jax":
    WRAPPERS += (
        # After training Keras gives weights their values before it gives masks theirs.
        (keras.Model, "jax_state_sync", written_together),
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
    constraint = keras.Variable.constraint
    if not hasattr(constraint.fset, _WRAPPED):
        guarding = _wrapped(constraint.fset, _set_constraint)
        keras.Variable.constraint = constraint.setter(guarding)


def _wrapped(original: Any, wrapper: Callable[..., Any]) -> Any:
    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(wrapped, _WRAPPED, True)
    return wrapped
