"""What a training is asked, what a peer has to say of itself, and what is found."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

DENSE = "dense"
NETWORKS = ("perceptron", "lenet5")


@dataclass(frozen=True)
class Task:
    """One training of one network by one method of one peer.

    Attributes:
        peer: Name of the peer.
        method: One of its methods, or `"dense"`.
        network: `"perceptron"` or `"lenet5"`.
        sparsity: Fraction of all kernels' weights to remove; 0 for `"dense"`.
        epochs: Epochs of training in all.
        pruning_epochs: Epochs after which the mask is final.
        images: Training images.
        batch_size: Images in a batch.
        seed: Seed of the weights that training begins with.
    """

    peer: str
    method: str
    network: str
    sparsity: float
    epochs: int
    pruning_epochs: int
    images: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Record:
    """What one training found; None is what could not be had, and `notes` says why.

    Attributes:
        task: What was asked for.
        versions: Of the peer and what it runs on.
        error: Test error after training.
        sparsity: Zeros among all kernels' weights after training.
        seconds: Processor time of the whole training.
        step_seconds: Median processor time of a step with the final mask.
        dense_step_seconds: The same of the peer's own dense network, in turn with it.
        memory: Peak of the process' memory when training ends, in bytes.
        file_size: Bytes of the saved file, without the optimizer.
        zipped_size: Bytes of that file in gzip.
        loaded_error: Test error of what was loaded from the file.
        loaded_sparsity: Its sparsity.
        tuned_sparsity: Sparsity after steps of plain training, without the peer's
            callback, of the model that was trained.
        loaded_tuned_sparsity: The same of the model that was loaded.
        notes: Reasons, by the name of the figure; `"training"` for all of them.
    """

    task: Task
    versions: str
    error: float | None = None
    sparsity: float | None = None
    seconds: float | None = None
    step_seconds: float | None = None
    dense_step_seconds: float | None = None
    memory: int | None = None
    file_size: int | None = None
    zipped_size: int | None = None
    loaded_error: float | None = None
    loaded_sparsity: float | None = None
    tuned_sparsity: float | None = None
    loaded_tuned_sparsity: float | None = None
    notes: dict[str, str] | None = None

    @classmethod
    def from_dict(cls, record: dict) -> "Record":
        """Return what `dataclasses.asdict` has made of a record."""
        return cls(**{**record, "task": Task(**record["task"])})


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
        packages: What figures depend on: from a name to that of the distribution.
    """

    packages: Mapping[str, str] = {}

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def versions(self) -> str:
        """The versions that figures depend on."""
        return ", ".join(f"{name} {version(d)}" for name, d in self.packages.items())

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
