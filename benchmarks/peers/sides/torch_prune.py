"""PyTorch's own `torch.nn.utils.prune`: global magnitude."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils import prune

from benchmarks.peers.side import Kernels
from benchmarks.peers.sides.in_torch import InTorch


class Peer(InTorch):
    """`torch.nn.utils.prune`."""

    packages = {"PyTorch": "torch"}

    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Prune after the last epoch of pruning, or at the end of each."""
        model = self.dense(kernels)
        rounds = self.task.pruning_epochs
        if self.task.method == "one shot":
            self.fit(model, x, y, rounds)
            self.prune(model, self.task.sparsity)
        else:
            # The same share of what is left, every time.
            amount = 1 - (1 - self.task.sparsity) ** (1 / rounds)
            for _ in range(rounds):
                self.fit(model, x, y, 1)
                self.prune(model, amount)
        self.fit(model, x, y, self.task.epochs - rounds)
        return model

    @staticmethod
    def prune(model: Any, amount: float) -> None:
        """Remove a share of the weights that are left."""
        places = [(m, "weight") for m in model if hasattr(m, "weight")]
        prune.global_unstructured(places, prune.L1Unstructured, amount=amount)

    def save(self, model: Any, folder: Path) -> Path:
        """Save a copy that `prune.remove` has made permanent."""
        if not prune.is_pruned(model):
            return super().save(model, folder)
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        buffer.seek(0)
        copy = self.network()
        self.prune(copy, 0.0)
        copy.load_state_dict(torch.load(buffer))
        for module in copy:
            if hasattr(module, "weight"):
                prune.remove(module, "weight")
        return super().save(copy, folder)
