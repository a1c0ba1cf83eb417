"""What `fit` logs of a model with masks: its sparsity, wherever callbacks stand."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_initprune.constraints.projection import masked_weights, masks_of
from keras_initprune.constraints.weights import named_layers

PER_LAYER = "sparsity/"
"""What the names of the layers' sparsities begin with in the logs."""


class SparsityLogs(keras.callbacks.Callback):
    """Adds `sparsity` to the logs of an epoch, and `sparsity/LAYER` for every layer.

    They count the weights that carry a mask, and what sparse layers stand for: the
    fraction that is removed.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add them for all callbacks that come later."""
        if logs is not None:
            logs.update(sparsity_logs(self.model))


def sparsity_logs(model: keras.Model) -> dict[str, float]:
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
    each = {PER_LAYER + path: _sparsity(counts) for path, counts in layers.items()}
    return {"sparsity": _sparsity(everything), **each}


def set_model(inner: Callable[..., Any], container: Any, model: Any) -> None:
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


def show_epoch(
    inner: Callable[..., Any], progress: Any, epoch: int, logs: Any = None
) -> None:
    """Do what `ProgbarLogger.on_epoch_end` does, without a number for every layer."""
    logs = {k: v for k, v in (logs or {}).items() if not k.startswith(PER_LAYER)}
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
