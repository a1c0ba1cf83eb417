"""SparseLab, which trains what is stored sparse from the start."""

from functools import partial
from typing import Any

import numpy as np
import sparselab

from benchmarks.peers.side import DENSE, Kernels
from benchmarks.peers.sides.in_torch import InTorch


class Peer(InTorch):
    """`sparselab` on PyTorch: its layers draw their own positions and weights."""

    packages = {"sparselab": "sparselab", "PyTorch": "torch"}

    def empty(self) -> Any:
        """Return a sparse network, its positions drawn anew."""
        if self.task.method == DENSE:
            return self.network()
        return self.network(
            partial(sparselab.SparseLinear, sparsity=self.task.sparsity)
        )

    def train_pruned(self, kernels: Kernels, x: np.ndarray, y: np.ndarray) -> Any:
        """Train a network that is sparse from the first step."""
        options: dict[str, Any] = {"sparsity": self.task.sparsity}
        if self.task.method != "Static":
            options["seed"] = self.task.seed
        model = self.with_optimizer(self.empty())
        model.algorithm = getattr(sparselab, self.task.method)(**options)
        model.apply(model.algorithm)
        self.fit(model, x, y, self.task.epochs)
        del model.algorithm
        return model

    def after_step(self, model: Any) -> None:
        """Let the algorithm move connections while there is one."""
        if hasattr(model, "algorithm"):
            model.algorithm.step()

    def kernels(self, model: Any) -> list[np.ndarray]:
        """Return the layers' weights as dense arrays."""
        sparse = [m for m in model if isinstance(m, sparselab.SparseLinear)]
        if not sparse:
            return super().kernels(model)
        return [np.asarray(module._csr.to_dense()) for module in sparse]
