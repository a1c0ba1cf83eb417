"""What peers on PyTorch do alike."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.side import SHAPES, Kernels, Side, Task


class Channels(nn.Module):
    """Flattens as Keras does, channels last, so that kernels are the same."""

    def forward(self, x: Any) -> Any:
        """Return `(n, height * width * channels)`."""
        return x.permute(0, 2, 3, 1).flatten(1)


class InTorch(Side):
    """A side whose networks are PyTorch modules."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        torch.set_num_threads(1)
        torch.manual_seed(task.seed)

    def network(self, linear: Callable[[int, int], Any] = nn.Linear) -> Any:
        """Return a network, as PyTorch begins it."""
        layers: list[Any] = []
        *hidden, last = SHAPES[self.task.network]
        for shape in hidden:
            if len(shape) == 4:
                layers += [nn.Conv2d(shape[2], shape[3], shape[0]), nn.ReLU()]
                layers += [nn.MaxPool2d(2)]
                continue
            if not any(isinstance(layer, Channels) for layer in layers):
                layers += [Channels()]
            layers += [linear(*shape), nn.ReLU()]
        return nn.Sequential(*layers, linear(*last))

    def dense(self, kernels: Kernels) -> Any:
        """Return a module with an optimizer, as `model.optimizer`."""
        model = self.network()
        places = [m for m in model if isinstance(m, (nn.Linear, nn.Conv2d))]
        for place, kernel in zip(places, kernels, strict=True):
            order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            with torch.no_grad():
                place.weight.copy_(torch.from_numpy(kernel.transpose(order).copy()))
                place.bias.zero_()
        return self.with_optimizer(model)

    def with_optimizer(self, model: Any) -> Any:
        """Give a module Adam with Keras' constants, and return it."""
        model.optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-7)
        return model

    def after_step(self, model: Any) -> None:
        """Do what the peer does after every step."""

    def fit(self, model: Any, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
        """Train in a fixed order of batches."""
        for _ in range(epochs):
            self.epoch(model, x, y, self.task.batch_size)

    def steps(self, model: Any, x: np.ndarray, y: np.ndarray) -> list[float]:
        """Return the time between the ends of steps."""
        return np.diff(self.epoch(model, x, y, self.task.batch_size)).tolist()

    def epoch(
        self, model: Any, x: np.ndarray, y: np.ndarray, batch_size: int
    ) -> list[float]:
        """Train once with every image and return when each step ended."""
        images, labels = self.tensor(x), torch.from_numpy(y.astype(np.int64))
        ends = []
        batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
        for image, label in batches:
            model.optimizer.zero_grad()
            nn.functional.cross_entropy(model(image), label).backward()
            model.optimizer.step()
            self.after_step(model)
            ends.append(time.process_time())
        return ends

    @staticmethod
    def tensor(x: np.ndarray) -> Any:
        """Return images with channels first."""
        return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())

    def predict(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return the logits."""
        with torch.no_grad():
            return model(self.tensor(x)).numpy()

    def kernels(self, model: Any) -> list[np.ndarray]:
        """Return the weights that the modules compute with."""
        return [m.weight.detach().numpy() for m in model if hasattr(m, "weight")]

    def save(self, model: Any, folder: Path) -> Path:
        """Save the state dictionary."""
        path = folder / "model.pt"
        torch.save(model.state_dict(), path)
        return path

    def empty(self) -> Any:
        """Return the network that a file is loaded into."""
        return self.network()

    def load(self, path: Path) -> Any:
        """Load into a new module."""
        model = self.empty()
        model.load_state_dict(torch.load(path))
        return self.with_optimizer(model)
