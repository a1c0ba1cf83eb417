"""What `model.summary()` cannot show: how much of every layer is kept."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from keras_initprune.constraints import mask_variable
from keras_initprune.constraints.weights import (
    PrunableWeight,
    check_built,
    maskable_weights,
    without_masks,
)
from keras_initprune.deploy.sparse.conversion import has_sparse_layers, to_dense
from keras_initprune.paths import nonzero_mask
from keras_initprune.tables import html_table, text_table

_HEADERS = ("layer", "type", "parameters", "kept", "sparsity", "mask")


@dataclass(frozen=True)
class LayerCounts:
    """Counts of one layer, of a layer that is called twice once.

    Attributes:
        path: Names that lead to the layer.
        type: Name of its class.
        parameters: Number of its parameters, without masks.
        zeros: Number of zeros among its prunable weights.
        prunable: Number of its prunable weights.
        masked: Number of weights that carry a mask.
    """

    path: str
    type: str
    parameters: int
    zeros: int
    prunable: int
    masked: int

    @property
    def kept(self) -> int:
        """Number of parameters but for the zeros of prunable weights."""
        return self.parameters - self.zeros

    @property
    def sparsity(self) -> float | None:
        """Fraction of prunable weights that are zero, or None if there are none."""
        return self.zeros / self.prunable if self.prunable else None


@dataclass(frozen=True, repr=False)
class Summary:
    """Counts of a model's layers, shown as a table, or as HTML in a notebook.

    Attributes:
        name: Name of the model.
        layers: One entry per layer with parameters, in the model's order.
        trainable: Number of trainable parameters.
    """

    name: str
    layers: tuple[LayerCounts, ...]
    trainable: int

    @property
    def total(self) -> LayerCounts:
        """The counts of all layers together."""
        names = ("parameters", "zeros", "prunable", "masked")
        sums = [sum(getattr(layer, name) for layer in self.layers) for name in names]
        return LayerCounts("all", "", *sums)

    def __str__(self) -> str:
        return text_table(_HEADERS, self._lines(), self._notes())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(_HEADERS, self._lines(), self._notes())

    def _lines(self) -> list[list[str]]:
        return [_line(layer) for layer in (*self.layers, self.total)]

    def _notes(self) -> list[str]:
        total = self.total
        notes = [
            f"{self.name!r}: {self.trainable:,} parameters are trainable, "
            f"{total.parameters - self.trainable:,} are not."
        ]
        if total.masked:
            notes.append(
                f"Masks take {total.masked:,} bytes, which `model.summary()` counts as "
                "non-trainable parameters."
            )
        return notes


def summary(model: keras.Model) -> Summary:
    """Count the parameters of every layer, and how many of them are kept.

    `model.summary()` counts masks among the parameters and knows no zeros. `report`
    counts tensor by tensor, and knows which weights lie on a path and what they cost.

    Args:
        model: A built Keras model. Sparse layers count as the dense ones with masks
            that they stand for. What LoRA or quantisation computes has no sparsity
            here; `report` knows it.

    Returns:
        A `Summary`.

    Raises:
        ValueError: If the model is not built.

    Example:
        >>> from keras_initprune import prune
        >>> layers = [keras.Input((8,)), keras.layers.Dense(4, name="output")]
        >>> model = prune(keras.Sequential(layers, name="small"), "random", 0.75)
        >>> summary(model)
        layer      type    parameters    kept    sparsity    mask
        -------  ------  ------------  ------  ----------  ------
        output    Dense            36      12      75.00%     yes
        all                        36      12      75.00%     yes
        <BLANKLINE>
        'small': 36 parameters are trainable, 0 are not.
        Masks take 32 bytes, which `model.summary()` counts as non-trainable parameters.
    """
    check_built(model)
    if has_sparse_layers(model):
        model = to_dense(model)
    prunable = [
        weight
        for weight in maskable_weights(model).values()
        # By default embedding tables are left alone.
        if weight.attribute != "embeddings" or mask_variable(weight) is not None
    ]
    seen: set[int] = set()
    parts = [*_parts(model), ("(weights of its own)", model)]
    rows = [_counts(path, layer, prunable, seen) for path, layer in parts]
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return Summary(model.name, tuple(row for row in rows if row.parameters), trainable)


def _parts(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers of a model, and in place of a model inside it, its layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _parts(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def _counts(
    path: str, layer: keras.Layer, prunable: list[PrunableWeight], seen: set[int]
) -> LayerCounts:
    """Count what of a layer has not been counted with an earlier one."""
    new = {id(w): w for w in without_masks(layer) if id(w) not in seen}
    seen.update(new)
    own = [weight for weight in prunable if id(weight.variable) in new]
    return LayerCounts(
        path,
        type(layer).__name__,
        sum(int(np.prod(weight.shape)) for weight in new.values()),
        sum(int(np.count_nonzero(~nonzero_mask(weight))) for weight in own),
        sum(weight.size for weight in own),
        sum(weight.size for weight in own if mask_variable(weight) is not None),
    )


def _line(counts: LayerCounts) -> list[str]:
    share = "-" if counts.sparsity is None else f"{counts.sparsity:.2%}"
    mask = "yes" if counts.masked else ""
    numbers = (f"{counts.parameters:,}", f"{counts.kept:,}", share)
    return [counts.path, counts.type, *numbers, mask]
