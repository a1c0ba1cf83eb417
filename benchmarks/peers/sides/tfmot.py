"""TensorFlow Model Optimization, which is on Keras 2."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from benchmarks.peers.side import Kernels
from benchmarks.peers.sides.in_keras import InKeras


class Peer(InKeras):
    """`tensorflow-model-optimization` with `tf-keras`: gradual magnitude."""

    keras = tf_keras
    packages = {
        "tensorflow-model-optimization": "tensorflow-model-optimization",
        "tf-keras": "tf-keras",
        "TensorFlow": "tensorflow",
    }

    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Wrap the layers and fit; ten removals in an epoch, as in this package."""
        make = tfmot.sparsity.keras
        steps = -(-len(x) // self.task.batch_size)
        end = steps * self.task.pruning_epochs
        schedule = make.PolynomialDecay(
            0.0, self.task.sparsity, 0, end, frequency=max(1, steps // 10)
        )
        dense = self.dense(kernels)
        model = make.prune_low_magnitude(dense, pruning_schedule=schedule)
        self.compiled(model)
        self.fit(model, x, y, self.task.epochs, self.callbacks(model))
        return model

    def callbacks(self, model: Any) -> list[Any]:
        """Return the callback that wrapped layers cannot do without."""
        if not any(hasattr(layer, "pruning_step") for layer in model.layers):
            return []
        return [tfmot.sparsity.keras.UpdatePruningStep()]

    def kernels(self, model: Any) -> list[np.ndarray]:
        """Return the kernels inside the wrappers."""
        layers = [getattr(layer, "layer", layer) for layer in model.layers]
        return [layer.kernel.numpy() for layer in layers if hasattr(layer, "kernel")]

    def save(self, model: Any, folder: Path) -> Path:
        """Save what is left without the wrappers."""
        return super().save(tfmot.sparsity.keras.strip_pruning(model), folder)
