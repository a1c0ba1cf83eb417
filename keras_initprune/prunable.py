"""Finds the weights of a model that can be pruned.

Everything that prunes sees a dictionary from tensor path to `PrunableWeight`, and need
not know layers by their class.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

LayerSelector = (
    str | re.Pattern | Callable[["PrunableWeight"], bool] | Iterable[Any] | None
)

_KERNEL = (("kernel", "kernel_constraint"),)
_DEPTHWISE = (("kernel", "depthwise_constraint"),)
_SEPARABLE = (
    ("depthwise_kernel", "depthwise_constraint"),
    ("pointwise_kernel", "pointwise_constraint"),
)
_RECURRENT = (*_KERNEL, ("recurrent_kernel", "recurrent_constraint"))
_EMBEDDING = (("embeddings", "embeddings_constraint"),)

# The first class that a layer is an instance of decides, so subclasses come first:
# Keras' depthwise and separable convolutions do not derive from the plain ones.
_WEIGHTS_BY_CLASS: tuple[tuple[tuple[type, ...], tuple[tuple[str, str], ...]], ...] = (
    ((keras.layers.Dense, keras.layers.EinsumDense), _KERNEL),
    ((keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D), _KERNEL),
    (
        (
            keras.layers.Conv1DTranspose,
            keras.layers.Conv2DTranspose,
            keras.layers.Conv3DTranspose,
        ),
        _KERNEL,
    ),
    ((keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D), _DEPTHWISE),
    ((keras.layers.SeparableConv1D, keras.layers.SeparableConv2D), _SEPARABLE),
    (
        (
            keras.layers.SimpleRNNCell,
            keras.layers.LSTMCell,
            keras.layers.GRUCell,
        ),
        _RECURRENT,
    ),
    ((keras.layers.Embedding,), _EMBEDDING),
)

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


@dataclass(frozen=True, eq=False)
class PrunableWeight:
    """A weight tensor that can carry a mask.

    Attributes:
        path: Unique name of the tensor within its model: the names of the layers that
            lead to it and its own, such as `"hidden_1/kernel"`.
        key: Name that does not depend on how layers are called, such as `"0/kernel"`:
            random candidates are keyed with it, so that two models of the same
            architecture get the same masks from the same seed.
        layer: The layer that owns the tensor (of a recurrent layer: its cell).
        attribute: Attribute of `layer` that holds the tensor.
        constraint_attribute: Attribute of `layer` that holds its constraint.
        unit_axes: Axes of the tensor that index output units.
    """

    path: str
    key: str
    layer: keras.Layer
    attribute: str
    constraint_attribute: str
    unit_axes: tuple[int, ...]

    @property
    def variable(self) -> keras.Variable:
        """The weight itself."""
        return getattr(self.layer, self.attribute)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.variable.shape)

    @property
    def size(self) -> int:
        """Number of weights in the tensor."""
        return int(np.prod(self.shape))

    def numpy(self) -> np.ndarray:
        """Return a float32 copy of the tensor's values."""
        return keras.ops.convert_to_numpy(self.variable).astype(np.float32)


def prunable_weights(
    model: keras.Model,
    layers: LayerSelector = None,
    skip_output: bool = False,
    embeddings: bool = False,
) -> dict[str, PrunableWeight]:
    """Return the weights of a model that can be pruned.

    These are the kernels of `Dense`, `EinsumDense`, convolutions (plain, transposed,
    depthwise and separable), recurrent cells (kernel and recurrent kernel) and the
    projections of `MultiHeadAttention`, wherever they are nested. Biases and
    normalisation are never among them.

    Args:
        model: A built Keras model.
        layers: Which of them to take: a layer's name or a tensor's path, a compiled
            regular expression that is searched in the paths, a predicate that takes a
            `PrunableWeight`, or a list of these. Defaults to all.
        skip_output: Whether to leave out the layers that compute the model's outputs.
            Needs a Sequential or Functional model.
        embeddings: Whether `Embedding` tables count too. Defaults to False.

    Returns:
        A dictionary from tensor path to `PrunableWeight`, in the model's order.

    Raises:
        ValueError: If the model is not built, has nothing to prune, or a selector
            matches nothing.

    Example:
        >>> model = keras.Sequential(
        ...     [keras.Input((8,)), keras.layers.Dense(4, name="hidden")]
        ... )
        >>> list(prunable_weights(model))
        ['hidden/kernel']
    """
    _check_built(model)
    found = {
        path: weight
        for path, weight in _all_weights(model).items()
        if embeddings or not isinstance(weight.layer, keras.layers.Embedding)
    }
    if not found:
        raise ValueError(
            f"The model {model.name!r} has nothing to prune: no dense, convolutional, "
            "recurrent or attention kernels. Embedding tables count with "
            "`embeddings=True`."
        )
    selected = _select(found, layers)
    if skip_output:
        outputs = _output_layers(model)
        selected = {
            path: weight
            for path, weight in selected.items()
            if not any(weight.layer is layer for layer in outputs)
        }
        if not selected:
            raise ValueError(
                f"With `skip_output=True` the model {model.name!r} has nothing left "
                "to prune."
            )
    return selected


def _check_built(model: keras.Model) -> None:
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a Keras model. Received: model={model!r} "
            f"(of type {type(model).__name__})"
        )
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} is not built yet. Call it on a batch, give it "
            "an `Input`, or call `model.build(input_shape)` first."
        )


def _all_weights(model: keras.Model) -> dict[str, PrunableWeight]:
    found: dict[str, PrunableWeight] = {}
    seen: set[int] = set()
    for name, layer in _walk(model):
        for attribute, constraint_attribute in _weight_attributes(layer):
            variable = getattr(layer, attribute)
            if not isinstance(variable, keras.Variable):
                raise ValueError(
                    f"`{attribute}` of layer {layer.name!r} is computed from other "
                    "weights (LoRA or quantisation), which cannot carry a mask. "
                    "Merge or remove them first."
                )
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            path = _unique(f"{name}/{variable.name}", found)
            found[path] = PrunableWeight(
                path=path,
                key=f"{len(found)}/{attribute}",
                layer=layer,
                attribute=attribute,
                constraint_attribute=constraint_attribute,
                unit_axes=_unit_axes(layer, attribute),
            )
    return found


def weights_of_layer(layer: keras.Layer) -> Iterator[PrunableWeight]:
    """Yield the weights that a layer itself owns and that can be pruned.

    Their paths begin with the layer's name, for nothing is known of a model around it.
    """
    for attribute, constraint_attribute in _weight_attributes(layer):
        variable = getattr(layer, attribute)
        if isinstance(variable, keras.Variable):
            yield PrunableWeight(
                path=f"{layer.name}/{variable.name}",
                key=attribute,
                layer=layer,
                attribute=attribute,
                constraint_attribute=constraint_attribute,
                unit_axes=_unit_axes(layer, attribute),
            )


def _walk(parent: keras.Layer, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yield every layer with the names that lead to it.

    Not with `variable.path`, which is another after a model with wrapped layers is
    saved and loaded.
    """
    for layer in parent._layers:
        yield prefix + layer.name, layer
        yield from _walk(layer, f"{prefix}{layer.name}/")


def _weight_attributes(layer: keras.Layer) -> tuple[tuple[str, str], ...]:
    if not layer.built:
        return ()
    for classes, attributes in _WEIGHTS_BY_CLASS:
        if isinstance(layer, classes):
            return attributes
    return ()


def _unique(path: str, taken: dict[str, PrunableWeight]) -> str:
    """Tell apart layers of one name, which Keras allows in subclassed models."""
    unique, number = path, 2
    while unique in taken:
        unique, number = f"{path}#{number}", number + 1
    return unique


def _unit_axes(layer: keras.Layer, attribute: str) -> tuple[int, ...]:
    if isinstance(layer, _TRANSPOSED):
        return (-2,)
    if attribute == "depthwise_kernel" or isinstance(
        layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
    ):
        return (-2, -1)
    if isinstance(layer, keras.layers.EinsumDense):
        operands, output = layer.equation.replace("...", "").split("->")
        inputs, kernel = operands.split(",")
        return tuple(
            axis
            for axis, label in enumerate(kernel)
            if label in output and label not in inputs
        )
    return (-1,)


def _select(
    found: dict[str, PrunableWeight], layers: LayerSelector
) -> dict[str, PrunableWeight]:
    if layers is None:
        return found
    chosen: set[str] = set()
    if isinstance(layers, str | re.Pattern) or callable(layers):
        layers = [layers]
    for selector in layers:
        matched = {path for path, weight in found.items() if _matches(selector, weight)}
        if not matched:
            shown = getattr(selector, "pattern", selector)
            raise ValueError(
                "`layers` must match at least one prunable weight, which are "
                f"{', '.join(map(repr, found))}. Received: layers={shown!r}"
            )
        chosen |= matched
    if not chosen:
        raise ValueError("`layers` must not be empty. Received: layers=[]")
    return {path: weight for path, weight in found.items() if path in chosen}


def _matches(selector: Any, weight: PrunableWeight) -> bool:
    if isinstance(selector, str):
        parents = weight.path.split("/")[:-1]
        return selector == weight.path or selector in parents
    if isinstance(selector, re.Pattern):
        return selector.search(weight.path) is not None
    if callable(selector):
        return bool(selector(weight))
    raise ValueError(
        "`layers` must be made of layer names, compiled regular expressions or "
        f"predicates. Received: {selector!r}"
    )


def _output_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the prunable layers nearest to the model's outputs."""
    if getattr(model, "outputs", None) is None:
        raise ValueError(
            "`skip_output=True` needs a Sequential or Functional model; name the "
            f"layers to prune with `layers` instead. Received: {type(model).__name__}"
        )
    found: list[keras.Layer] = []
    pending = list(model.outputs)
    while pending:
        tensor = pending.pop()
        operation, node_index, _ = tensor._keras_history
        if isinstance(operation, keras.Model):
            found.extend(_output_layers(operation))
        elif inner := _inner_weight_layers(operation):
            found.extend(inner)
        else:
            pending.extend(operation._inbound_nodes[node_index].input_tensors)
    return found


def _inner_weight_layers(operation: Any) -> list[keras.Layer]:
    if not isinstance(operation, keras.Layer):
        return []
    layers = [operation, *operation._flatten_layers(include_self=False)]
    return [layer for layer in layers if _weight_attributes(layer)]
