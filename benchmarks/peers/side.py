"""What a peer has to say: how it builds, trains, prunes, saves and loads."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.records import Task

Kernels = Sequence[np.ndarray]

# Kernels as (inputs, outputs) and (height, width, channels, filters).
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "perceptron": ((784, 300), (300, 100), (100, 10)),
    "lenet5": ((5, 5, 1, 20), (5, 5, 20, 50), (800, 500), (500, 10)),
}


def initial_kernels(network: str, seed: int) -> list[np.ndarray]:
    """Return Glorot-uniform kernels, the same for every peer; biases are 0.

    Example:
        >>> [kernel.shape for kernel in initial_kernels("perceptron", 0)]
        [(784, 300), (300, 100), (100, 10)]
    """
    generator = np.random.default_rng(seed)
    kernels = []
    for shape in SHAPES[network]:
        field = int(np.prod(shape[:-2]))
        limit = np.sqrt(6 / (field * (shape[-2] + shape[-1])))
        kernels.append(generator.uniform(-limit, limit, shape).astype(np.float32))
    return kernels


class Side(ABC):
    """One peer. Images come as `(n, 28, 28, 1)`, in batches that are never shuffled.

    Attributes:
        task: What is to be done.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    @abstractmethod
    def versions(self) -> str:
        """The versions that figures depend on."""

    @abstractmethod
    def dense(self, kernels: Kernels) -> Any:
        """Return a dense network that is ready to train, beginning with `kernels`."""

    @abstractmethod
    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Return a network that `task.method` has pruned and trained."""

    @abstractmethod
    def fit(self, model: Any, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
        """Train as if nothing had been pruned: without the peer's callback."""

    @abstractmethod
    def steps(self, model: Any, x: np.ndarray, y: np.ndarray) -> list[float]:
        """Train one epoch as the peer would, and return every step's seconds."""

    @abstractmethod
    def predict(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return outputs of shape `(n, 10)`."""

    @abstractmethod
    def kernels(self, model: Any) -> list[np.ndarray]:
        """Return the kernels that the network computes with, in any layout."""

    @abstractmethod
    def save(self, model: Any, folder: Path) -> Path:
        """Save the network as the peer would hand it on, and leave `model` as it is."""

    @abstractmethod
    def load(self, path: Path) -> Any:
        """Return what `save` saved, ready to train."""
