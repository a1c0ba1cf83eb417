"""Notes the fitness of a random mask, to be compared with what becomes of it."""

from typing import Any

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.gradients.sums import GradientRecorder


class MaskFitness(keras.callbacks.Callback):
    """Notes the fitness of the mask that `KStarts` with k = 1 applies.

    It comes after `KStarts` in the list. Masks that were drawn for the same training
    compare by the sums over what they keep.

    Args:
        epochs: Epochs of the selection.

    Attributes:
        fitness: From name to the mask's fitness: `"magnitude"`, `"gradient"` and the
            distance moved, `"movement"`. Empty before the selection.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.fitness: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin to gather."""
        if epoch == 0:
            self._weights = constraints.masked_weights(self.model)
            self._initial = {p: w.numpy() for p, w in self._weights.items()}
            self._recorder = GradientRecorder(self.model, self._weights, gradients=True)
            self._recorder.start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add up what the mask keeps, which still has its trained values."""
        if epoch + 1 != self.epochs:
            return
        masks, totals = constraints.get_masks(self.model), self._recorder.totals()
        values = {path: weight.numpy() for path, weight in self._weights.items()}
        moved = {path: values[path] - self._initial[path] for path in values}
        for name, scores in (
            ("magnitude", values), ("gradient", totals), ("movement", moved)
        ):  # fmt: skip
            kept = [np.abs(scores[path][mask]).sum() for path, mask in masks.items()]
            self.fitness[name] = float(np.sum(kept))
        self._recorder.stop()
        self._weights, self._initial = {}, {}
