"""How sparse a model is: weights, effective weights and FLOPs, tensor by tensor."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initprune import validation
from keras_initprune.constraints.layers import LayerSelector
from keras_initprune.constraints.weights import (
    check_built,
    prunable_weights,
    without_masks,
)
from keras_initprune.deploy.sparse.conversion import has_sparse_layers, to_dense
from keras_initprune.paths import Observation, as_floats, nonzero_mask, observe
from keras_initprune.tables import html_table, text_table

_HEADERS = ("weight", "shape", "count", "kept", "sparsity", "effective")
# These do not fit into 80 columns.
_WIDE_HEADERS = ("FLOPs", "sparse FLOPs", "training FLOPs", "sparse training FLOPs")

_COUNTS = ("parameters", "kept", "effective", "sparsity", "effective_sparsity")
_FLOPS = (
    "flops_dense",
    "flops_sparse",
    "training_flops_dense",
    "training_flops_sparse",
)

# One forward pass, and a backward pass that costs as much once for the gradients of
# what a layer reads and once for those of its weights.
_PASSES_OF_TRAINING = 3


class _Shares:
    """What follows from the counts of a tensor, or of a model."""

    @property
    def sparsity(self: Any) -> float:
        """Fraction of prunable weights that are zero."""
        return 1 - self.kept / self.parameters

    @property
    def effective_sparsity(self: Any) -> float:
        """Fraction of prunable weights that are zero or dead."""
        return 1 - self.effective / self.parameters

    @property
    def training_flops_dense(self: Any) -> int | None:
        """FLOPs of one example's training step with all weights, or None."""
        return _training(self.flops_dense)

    @property
    def training_flops_sparse(self: Any) -> int | None:
        """The same with the kept weights only, or None."""
        return _training(self.flops_sparse)


@dataclass(frozen=True)
class Row(_Shares):
    """Counts of one prunable tensor.

    Attributes:
        path: Path of the tensor.
        shape: Shape of the tensor.
        parameters: Number of weights.
        kept: Number of weights that are not zero.
        effective: Number of kept weights on a path from an input to an output.
        flops_dense: FLOPs of one example's forward pass with all weights, or None.
        flops_sparse: The same with the kept weights only, or None.
    """

    path: str
    shape: tuple[int, ...]
    parameters: int
    kept: int
    effective: int
    flops_dense: int | None
    flops_sparse: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists."""
        return {"path": self.path, "shape": list(self.shape), **_counts(self)}


@dataclass(frozen=True, repr=False)
class Report(_Shares):
    """Counts of a model, shown as a table: in 80 columns, or as HTML in a notebook.

    Attributes:
        rows: One row per prunable tensor.
        total_parameters: Number of parameters of the whole model: what is trained and
            what is not, without masks.
    """

    rows: tuple[Row, ...]
    total_parameters: int

    @property
    def parameters(self) -> int:
        """Number of prunable weights."""
        return sum(row.parameters for row in self.rows)

    @property
    def kept(self) -> int:
        """Number of prunable weights that are not zero."""
        return sum(row.kept for row in self.rows)

    @property
    def effective(self) -> int:
        """Number of kept weights on a path from an input to an output."""
        return sum(row.effective for row in self.rows)

    @property
    def total_sparsity(self) -> float:
        """Zeros among the prunable weights, as a fraction of all parameters."""
        return (self.parameters - self.kept) / self.total_parameters

    @property
    def flops_dense(self) -> int | None:
        """FLOPs of one example's forward pass with all weights, or None."""
        return _sum([row.flops_dense for row in self.rows])

    @property
    def flops_sparse(self) -> int | None:
        """FLOPs of one example's forward pass with the kept weights only, or None."""
        return _sum([row.flops_sparse for row in self.rows])

    def average_training_flops(self, dense_gradient_interval: int) -> float | None:
        """Return FLOPs of a training step on average if some need dense gradients.

        `3 f_S + (f_D - f_S) / interval` with the forward pass f_S of the kept weights
        and f_D of all: every `interval` steps the gradients of all weights are needed,
        as in `RigL`, and nothing else is dense. (Evci et al. 2020 leave out the step in
        which the mask changes, and divide by `interval + 1`.) `SET` and static masks
        need none: `training_flops_sparse`. Where the sparsity changes, as in gradual
        pruning, add up the reports of the epochs.

        Args:
            dense_gradient_interval: `interval` of the callback.

        Raises:
            ValueError: If `dense_gradient_interval` is not an integer of at least 1.
        """
        interval = validation.check_positive_integer(
            dense_gradient_interval, "dense_gradient_interval"
        )
        dense, sparse = self.flops_dense, self.flops_sparse
        if dense is None or sparse is None:
            return None
        return _PASSES_OF_TRAINING * sparse + (dense - sparse) / interval

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, fit for JSON."""
        return {
            **_counts(self),
            "total_parameters": self.total_parameters,
            "total_sparsity": self.total_sparsity,
            "rows": [row.as_dict() for row in self.rows],
        }

    def __str__(self) -> str:
        lines = [line[: len(_HEADERS)] for line in self._lines()]
        return text_table(_HEADERS, lines, self._notes())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table((*_HEADERS, *_WIDE_HEADERS), self._lines(), self._notes())

    def _lines(self) -> list[list[str]]:
        rows = [
            _line(row.path, "x".join(map(str, row.shape)), row) for row in self.rows
        ]
        return [*rows, _line("all", "", self)]

    def _notes(self) -> list[str]:
        kept = self.total_parameters - self.parameters + self.kept
        notes = [
            f"{kept:,} of all {self.total_parameters:,} parameters are kept (sparsity "
            f"{self.total_sparsity:.2%}), masks not counted."
        ]
        if self.flops_dense is not None:
            notes.append(
                f"FLOPs of one example: {self.flops_sparse:,} of {self.flops_dense:,}; "
                "of a training step three times as many."
            )
        return notes


def report(
    model: keras.Model, inputs: Any = None, layers: LayerSelector = None
) -> Report:
    """Count what a model keeps, what of it is effective, and the FLOPs it saves.

    A multiplication and its addition are 2 FLOPs. They are counted for the forward pass
    of one example and for prunable weights only: biases, activations, normalisation,
    pooling and the products of attention are left out. Sparse layers count as the dense
    ones with masks that they stand for, quantised ones and those with LoRA as the float
    layers that they stand for. A weight is used once per output position of a
    convolution (per input position of a transposed one), once per position or time step
    elsewhere, and again where its layer is called again. Padding is multiplied too,
    looking up an embedding costs nothing. `flops_sparse` counts kept weights, dead or
    not; whether hardware saves them is another question.

    A training step costs three forward passes: one, and two for the backward pass, to
    the layer's inputs and to its weights. That is the usual convention (Evci et al.
    2020, arXiv 1911.11134), which also charges the first layer, whose inputs need no
    gradient. The optimizer's update is left out. `training_flops_sparse` takes both
    passes as sparse as the masks are now; see `Report.average_training_flops` for
    `RigL`. Keras itself multiplies by the zeros.

    No other thread may call the model meanwhile, see `paths.observe`.

    Args:
        model: A built Keras model.
        inputs: A small batch of what the model is called with; see
            `paths.observe` for models that need it. Without it FLOPs are None
            where the model leaves the size of its inputs open. Defaults to None.
        layers: Which weights to count, see `Layers`. Defaults to all.

    Returns:
        A `Report`.

    Raises:
        ValueError: If the model is not built, does not know the shapes of its inputs,
            or is quantised with GPTQ or AWQ.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> model.layers[0].kernel.assign([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]).shape
        TensorShape([2, 3])
        >>> counts = report(model)
        >>> counts.kept, counts.sparsity, counts.flops_dense, counts.flops_sparse
        (3, 0.5, 12, 6)
    """
    model = _with_dense_layers(model)
    with as_floats(model) as more:
        rows = _rows(model, observe(model, inputs=inputs), layers)
    total = sum(int(np.prod(weight.shape)) for weight in without_masks(model))
    return Report(rows, total + more)


def sparsity(model: keras.Model, layers: LayerSelector = None) -> float:
    """Return the fraction of a model's prunable weights that are exactly zero.

    Args:
        model: A built Keras model.
        layers: Which weights to count, see `Layers`. Defaults to all.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: If the model is not built, or is quantised with GPTQ or AWQ.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.layers[0].kernel.assign([[1.0, 0.0], [1.0, 1.0]]).shape
        TensorShape([2, 2])
        >>> sparsity(model)
        0.25
    """
    model = _with_dense_layers(model)
    with as_floats(model):
        weights = prunable_weights(model, layers).values()
        kept = sum(int(np.count_nonzero(nonzero_mask(weight))) for weight in weights)
        return 1 - kept / sum(weight.size for weight in weights)


def _rows(
    model: keras.Model, observation: Observation, layers: LayerSelector
) -> tuple[Row, ...]:
    rows = []
    for path, weight in prunable_weights(model, layers).items():
        kept = int(np.count_nonzero(observation.kept[path]))
        flops = None if observation.has_open_shape else 2 * observation.uses[path]
        rows.append(
            Row(
                path=path,
                shape=weight.shape,
                parameters=weight.size,
                kept=kept,
                effective=int(np.count_nonzero(observation.effective[path])),
                flops_dense=None if flops is None else flops * weight.size,
                flops_sparse=None if flops is None else flops * kept,
            )
        )
    return tuple(rows)


def _with_dense_layers(model: keras.Model) -> keras.Model:
    check_built(model)
    return to_dense(model) if has_sparse_layers(model) else model


def _training(flops: int | None) -> int | None:
    return None if flops is None else _PASSES_OF_TRAINING * flops


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _counts(counted: Row | Report) -> dict[str, Any]:
    return {name: getattr(counted, name) for name in (*_COUNTS, *_FLOPS)}


def _line(name: str, shape: str, counted: Row | Report) -> list[str]:
    flops = (getattr(counted, name) for name in _FLOPS)
    return [
        name,
        shape,
        f"{counted.parameters:,}",
        f"{counted.kept:,}",
        f"{counted.sparsity:.2%}",
        f"{counted.effective:,}",
        *("-" if value is None else f"{value:,}" for value in flops),
    ]
