"""This package on PyTorch, with sparse layers as soon as the mask is final."""

import os
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"

from benchmarks.peers.side import Kernels
from benchmarks.peers.sides import ours


class Peer(ours.Peer):
    """`keras_initprune` on Keras 3 and PyTorch."""

    packages = {"Keras": "keras", "PyTorch": "torch"}

    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Fit with a callback, and with sparse layers after it."""
        from keras_initprune import Combination, fit_sparse

        task = self.task
        pruning = Combination(sparsity=task.sparsity, epochs=task.pruning_epochs)
        sparse, _ = fit_sparse(
            self.dense(kernels),
            x,
            y,
            epochs=task.epochs,
            callbacks=[pruning],
            batch_size=task.batch_size,
            shuffle=False,
            verbose=0,
        )
        return sparse

    def kernels(self, model: Any) -> list[np.ndarray]:
        """Return the layers' kernels, those of sparse layers as dense arrays."""
        from keras_initprune import to_dense
        from keras_initprune.deploy.sparse.conversion import has_sparse_layers

        dense = to_dense(model) if has_sparse_layers(model) else model
        layers = [layer for layer in dense.layers if hasattr(layer, "kernel")]
        return [self.keras.ops.convert_to_numpy(layer.kernel) for layer in layers]
