"""What peers on Keras 2 and on Keras 3 do alike."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.side import SHAPES, Kernels, Side


class InKeras(Side):
    """A side whose networks are Keras models."""

    keras: Any

    def layers(self) -> list[Any]:
        """Return the layers of the network, activations in layers of their own."""
        make = self.keras.layers
        layers: list[Any] = [make.Input((28, 28, 1))]
        *hidden, last = SHAPES[self.task.network]
        for shape in hidden:
            if len(shape) == 4:
                layers += [make.Conv2D(shape[-1], shape[0]), make.ReLU()]
                layers += [make.MaxPooling2D()]
                continue
            if not any(isinstance(layer, make.Flatten) for layer in layers):
                layers += [make.Flatten()]
            layers += [make.Dense(shape[-1]), make.ReLU()]
        return [*layers, make.Dense(last[-1])]

    def dense(self, kernels: Kernels) -> Any:
        """Return a compiled model."""
        model = self.keras.Sequential(self.layers())
        places = [layer.kernel for layer in model.layers if layer.weights]
        for place, kernel in zip(places, kernels, strict=True):
            place.assign(kernel)
        return self.compiled(model)

    def compiled(self, model: Any) -> Any:
        """Compile a model, the same way for all, and return it."""
        loss = self.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
        return model

    def fit(
        self,
        model: Any,
        x: np.ndarray,
        y: np.ndarray,
        epochs: int,
        callbacks: Sequence[Any] = (),
    ) -> None:
        """Train in a fixed order of batches."""
        model.fit(
            x,
            y,
            batch_size=self.task.batch_size,
            epochs=epochs,
            shuffle=False,
            callbacks=list(callbacks),
            verbose=0,
        )

    def callbacks(self, model: Any) -> list[Any]:
        """Return what the peer needs in every `fit`."""
        return []

    def steps(self, model: Any, x: np.ndarray, y: np.ndarray) -> list[float]:
        """Return the time between the ends of steps, all callbacks included."""
        ends: list[float] = []
        clock = self.keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: ends.append(time.process_time())
        )
        self.fit(model, x, y, 1, [*self.callbacks(model), clock])
        return np.diff(ends).tolist()

    def predict(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return the logits."""
        return model.predict(x, batch_size=1000, verbose=0)

    def kernels(self, model: Any) -> list[np.ndarray]:
        """Return the layers' kernels."""
        layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
        return [np.asarray(layer.kernel) for layer in layers]

    def save(self, model: Any, folder: Path) -> Path:
        """Save in Keras' format, without the optimizer."""
        path = folder / "model.keras"
        optimizer, model.optimizer = model.optimizer, None
        model.save(path)
        model.optimizer = optimizer
        return path

    def load(self, path: Path) -> Any:
        """Load and compile."""
        return self.compiled(self.keras.models.load_model(path, compile=False))
