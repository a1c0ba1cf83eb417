"""PQuantML, without its quantisation."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pquant
from pquant.core.keras.train import PQuantCallback

from benchmarks.peers.side import Kernels
from benchmarks.peers.sides.in_keras import InKeras


class Peer(InKeras):
    """`pquant-ml` on Keras 3 and TensorFlow: the methods that take a sparsity."""

    keras = keras
    packages = {"pquant-ml": "pquant-ml", "Keras": "keras", "TensorFlow": "tensorflow"}

    def configuration(self, steps: int) -> Any:
        """Return its defaults for the method, fitted into the epochs that there are."""
        method, sparsity = self.task.method, self.task.sparsity
        epochs = self.task.pruning_epochs
        config = getattr(pquant, f"{method}_config")()
        config.quantization_parameters.enable_quantization = False
        training, pruning = config.training_parameters, config.pruning_parameters
        training.pretraining_epochs, training.epochs = 0, epochs
        training.fine_tuning_epochs = self.task.epochs - epochs
        if method == "pdp":  # Its sparsity grows by this share in an epoch.
            pruning.epsilon = 1 / epochs
        if method == "wanda":  # It prunes once, at the end of the last such epoch.
            training.pretraining_epochs, training.epochs = epochs - 1, 1
            pruning.t_start_collecting_batch = 0
            pruning.t_delta = steps
        key = "target_sparsity" if method == "mdmm" else "sparsity"
        setattr(pruning, key, sparsity)
        return config

    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Replace the layers and fit with its callback; the final cut comes later."""
        config = self.configuration(-(-len(x) // self.task.batch_size))
        dense = self.dense(kernels)
        functional = self.keras.Model(dense.inputs, dense.outputs)
        model = pquant.add_compression_layers(functional, config, (28, 28, 1))
        callback = PQuantCallback(
            config, log_ebops=False, log_keep_ratio=False, apply_final_compression=False
        )
        self.fit(self.compiled(model), x, y, self.task.epochs, [callback])
        return model

    def save(self, model: Any, folder: Path) -> Path:
        """Save a copy to which its final compression was applied."""
        copy = self.keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        return super().save(pquant.apply_final_compression(copy), folder)
