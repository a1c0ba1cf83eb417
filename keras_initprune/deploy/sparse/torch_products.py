"""The products of a dense matrix with a sparse kernel in PyTorch, forward and backward.

The kernel is held transposed, in compressed sparse rows (CSR): one row per output unit.
Its values change with every training step; what its pattern says is kept.
"""

import warnings
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

_KEPT = "_initprune_pattern"

with warnings.catch_warnings():
    # PyTorch says once per process that such matrices are in beta state.
    warnings.simplefilter("ignore")
    torch.eye(1).to_sparse_csr()


def matrix_product(
    inputs: torch.Tensor,
    values: torch.Tensor,
    indices: torch.Tensor,
    shape: tuple[int, int],
) -> torch.Tensor:
    """Multiply a sparse kernel with a dense matrix whose columns are the examples.

    Neither the product nor its gradients compute anything for the kernel's zeros. What
    it takes and returns has the shapes of TensorFlow's, see `tf_products`.

    Raises:
        ValueError: If a position lies outside the kernel, or they are not sorted.

    Example:
        >>> product = matrix_product(
        ...     torch.tensor([[1.0], [2.0]]),
        ...     torch.tensor([3.0]),
        ...     torch.tensor([[1, 0]]),
        ...     (2, 2),
        ... )
        >>> product.tolist()
        [[0.0], [3.0]]
    """
    return _Product.apply(inputs, values, _pattern_of(indices, shape))


class _Pattern(NamedTuple):
    """Where a matrix has its non-zeros, by rows and, for its transpose, by columns."""

    row_splits: torch.Tensor
    columns: torch.Tensor
    column_splits: torch.Tensor
    rows: torch.Tensor
    by_column: torch.Tensor  # The values' order in the transpose.
    shape: tuple[int, int]

    def matrix(self, values: torch.Tensor) -> torch.Tensor:
        return _csr(self.row_splits, self.columns, values, self.shape)

    def transpose(self, values: torch.Tensor) -> torch.Tensor:
        values = values[self.by_column]
        return _csr(self.column_splits, self.rows, values, self.shape[::-1])


class _Product(torch.autograd.Function):
    """The product, and gradients that are made of sparse products too."""

    @staticmethod
    def forward(
        context: Any, inputs: torch.Tensor, values: torch.Tensor, pattern: _Pattern
    ) -> torch.Tensor:
        context.save_for_backward(inputs, values)
        context.pattern = pattern
        return pattern.matrix(values) @ inputs

    @staticmethod
    @once_differentiable
    def backward(
        context: Any, upstream: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        inputs, values = context.saved_tensors
        pattern, by_inputs, by_values = context.pattern, None, None
        if context.needs_input_grad[0]:
            by_inputs = pattern.transpose(values) @ upstream
        if context.needs_input_grad[1]:
            # Sampled where the kernel has non-zeros: never the gradient of all weights.
            zero = pattern.matrix(torch.zeros_like(values))
            sampled = torch.sparse.sampled_addmm(zero, upstream, inputs.T, beta=0.0)
            by_values = sampled.values()
        return by_inputs, by_values, None


def _pattern_of(indices: torch.Tensor, shape: tuple[int, int]) -> _Pattern:
    """Return the pattern of positions, made anew only if they have changed."""
    known = getattr(indices, _KEPT, None)
    if known is None or known[0] != indices._version:
        known = indices._version, _pattern(indices.detach(), shape)
        setattr(indices, _KEPT, known)
    return known[1]


def _pattern(indices: torch.Tensor, shape: tuple[int, int]) -> _Pattern:
    rows, columns = indices.T.contiguous()
    # PyTorch trusts positions: wrong ones would reach beyond the kernel's memory.
    flat = rows * shape[1] + columns
    inside = (indices >= 0) & (indices < indices.new_tensor(shape))
    if not (inside.all() and (flat.diff() > 0).all()):
        raise ValueError(
            f"The positions of a sparse kernel of the shape {shape} must be within it, "
            "sorted, and none of them twice."
        )
    by_column = torch.argsort(columns, stable=True)
    # MKL takes positions of 32 bits as they are.
    return _Pattern(
        _splits(rows, shape[0]),
        columns.int(),
        _splits(columns[by_column], shape[1]),
        rows[by_column].int(),
        by_column,
        shape,
    )


def _splits(ordered: torch.Tensor, count: int) -> torch.Tensor:
    """Return where each of `count` rows begins, and where the last one ends."""
    bounds = torch.arange(count + 1, device=ordered.device)
    return torch.searchsorted(ordered, bounds).int()


def _csr(
    splits: torch.Tensor, others: torch.Tensor, values: torch.Tensor, shape: Any
) -> torch.Tensor:
    # Checks of what is known to hold would take longer than the product.
    return torch.sparse_csr_tensor(
        splits, others, values, shape, check_invariants=False
    )
