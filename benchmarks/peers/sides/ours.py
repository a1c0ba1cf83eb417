"""This package."""

from typing import Any

import keras
import numpy as np

import keras_initprune
from benchmarks.peers.side import Kernels
from benchmarks.peers.sides.in_keras import InKeras


class Peer(InKeras):
    """`keras_initprune` on Keras 3 and TensorFlow."""

    keras = keras
    packages = {"Keras": "keras", "TensorFlow": "tensorflow"}

    @property
    def versions(self) -> str:
        """Of the package, which runs from a checkout too, and what it runs on."""
        return f"keras_initprune {keras_initprune.__version__}, {super().versions}"

    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Fit with a callback."""
        model = self.dense(kernels)
        pruning = getattr(keras_initprune, self.task.method)(
            sparsity=self.task.sparsity, epochs=self.task.pruning_epochs
        )
        self.fit(model, x, y, self.task.epochs, [pruning])
        return model
