"""Watches a run from outside: are pruned weights zero, and what does an epoch take?"""

import time
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints


class Audit(keras.callbacks.Callback):
    """Counts the weights that are not zero and the seconds, epoch by epoch.

    It comes last in the list of callbacks, so that it sees what is evaluated.

    Attributes:
        nonzeros: Weights under masks that are not zero at the end of every epoch; 0 as
            long as there are no masks.
        seconds: Duration of every epoch, pruning included.

    Raises:
        RuntimeError: If a weight that a mask removes is not zero.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Count anew."""
        self.nonzeros: list[int] = []
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop the clock and count."""
        self.seconds.append(round(time.perf_counter() - self._started, 3))
        masks = constraints.get_masks(self.model)
        count = 0
        for path, weight in constraints.masked_weights(self.model).items():
            nonzero = weight.numpy() != 0
            if np.any(nonzero & ~masks[path]):
                raise RuntimeError(f"Pruned weights of {path!r} are not zero.")
            count += int(np.count_nonzero(nonzero))
        self.nonzeros.append(count)
