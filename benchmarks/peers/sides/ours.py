"""This package."""

from typing import Any

import numpy as np

from benchmarks.peers.records import Task
from benchmarks.peers.side import Kernels
from benchmarks.peers.sides.in_keras import InKeras


class Peer(InKeras):
    """`keras_initprune` on Keras 3 and TensorFlow."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import keras

        self.keras = keras

    @property
    def versions(self) -> str:
        """Of the package, Keras and TensorFlow."""
        import tensorflow as tf

        import keras_initprune

        return (
            f"keras_initprune {keras_initprune.__version__}, Keras "
            f"{self.keras.__version__}, TensorFlow {tf.__version__}"
        )

    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Fit with a callback."""
        from keras_initprune import Combination, GradualMagnitude

        methods = {"Combination": Combination, "GradualMagnitude": GradualMagnitude}
        model = self.dense(kernels)
        pruning = methods[self.task.method](
            sparsity=self.task.sparsity, epochs=self.task.pruning_epochs
        )
        self.fit(model, x, y, self.task.epochs, [pruning])
        return model
