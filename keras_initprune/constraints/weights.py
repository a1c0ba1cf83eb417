"""Finds the weights of a model that can be pruned.

Everything that prunes sees a dictionary from tensor path to `PrunableWeight`, and need
not know layers by their class.
"""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_initprune import validation
from keras_initprune.backend.keras_internals import ConvLSTMCell
from keras_initprune.constraints.layers import Layers, LayerSelector

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
CELLS = (
    keras.layers.SimpleRNNCell,
    keras.layers.LSTMCell,
    keras.layers.GRUCell,
    ConvLSTMCell,
)

_KERNEL = {"kernel": "kernel_constraint"}
_EMBEDDING = {"embeddings": "embeddings_constraint"}

# From weights to their constraints, all attributes. The first class that a layer is an
# instance of decides, so subclasses come first: Keras' depthwise and separable
# convolutions do not derive from the plain ones.
_WEIGHTS_BY_CLASS: tuple[tuple[tuple[type, ...], dict[str, str]], ...] = (
    ((keras.layers.Dense, keras.layers.EinsumDense), _KERNEL),
    (CONVOLUTIONS + TRANSPOSED, _KERNEL),
    (DEPTHWISE, {"kernel": "depthwise_constraint"}),
    (
        SEPARABLE,
        {
            "depthwise_kernel": "depthwise_constraint",
            "pointwise_kernel": "pointwise_constraint",
        },
    ),
    (CELLS, _KERNEL | {"recurrent_kernel": "recurrent_constraint"}),
    (
        (keras.layers.ReversibleEmbedding,),
        _EMBEDDING | {"reverse_embeddings": "reverse_embeddings_constraint"},
    ),
    ((keras.layers.Embedding,), _EMBEDDING),
)

# From a registered class to its weights, and from those to the axes of their units.
_REGISTERED: dict[type, dict[str, tuple[int, ...]]] = {}

# Tables, scales and slopes, which do not connect units.
_LEFT_OUT_BY_CHOICE = (
    keras.layers.Embedding,
    keras.layers.PReLU,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)
_NOTEWORTHY = 0.05
_MOST_NAMED = 5


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
        constraint_attribute: Attribute of `layer` that holds its constraint. A layer
            that has none gets it with the mask.
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
    def is_computed(self) -> bool:
        """Whether the layer computes the tensor from others, as LoRA and int8 do."""
        if not isinstance(self.variable, keras.Variable):
            return True
        return not keras.backend.is_float_dtype(self.variable.dtype)

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


def register_prunable(
    layer_class: type[keras.Layer], *weights: str, unit_axes: Collection[int] = (-1,)
) -> None:
    """Make weights of a layer class of your own prunable.

    They are then found, masked, saved and reported like Keras' own kernels, in layers
    of the class and of its subclasses. Register before models are pruned or loaded.
    FLOPs count such a weight once per position of the layer's first input, as in
    `Dense`.

    Args:
        layer_class: A class of layers, but not of models: Keras saves the weights that
            a model itself owns in other places.
        *weights: Attributes of its layers that hold the weights, each one a
            `keras.Variable`. One that is None in some layers is left out there.
        unit_axes: Axes of the weights that index output units. Defaults to the last.

    Raises:
        ValueError: If an argument is invalid.

    Example:
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.w = self.add_weight(shape=(input_shape[-1], 4), name="w")
        ...
        ...     def call(self, inputs):
        ...         return inputs @ self.w
        >>> register_prunable(Scale, "w")
        >>> list(prunable_weights(keras.Sequential([keras.Input((2,)), Scale()])))
        ['scale/w']
    """
    is_layer = isinstance(layer_class, type) and issubclass(layer_class, keras.Layer)
    validation.require(
        is_layer and not issubclass(layer_class, keras.Model),
        layer_class,
        "layer_class",
        "a subclass of `keras.Layer` and none of `keras.Model`",
    )
    are_names = all(isinstance(name, str) and name.isidentifier() for name in weights)
    rule = "one or more names of attributes"
    validation.require(bool(weights) and are_names, weights, "weights", rule)
    axes = validation.check_integers(unit_axes, "unit_axes")
    _REGISTERED.setdefault(layer_class, {}).update(dict.fromkeys(weights, axes))


def prunable_weights(
    model: keras.Model, layers: LayerSelector = None
) -> dict[str, PrunableWeight]:
    """Return the weights of a model that can be pruned.

    These are the kernels of `Dense`, `EinsumDense`, convolutions (plain, transposed,
    depthwise and separable), recurrent cells (kernel and recurrent kernel, those of
    `ConvLSTM` too), the projections of `MultiHeadAttention`, the untied projection of
    `ReversibleEmbedding`, and what `register_prunable` names, wherever they are nested.
    Biases and normalisation are never among them.

    Args:
        model: A built Keras model.
        layers: Which of them to take, see `Layers`. Defaults to all but `Embedding`
            tables.

    Returns:
        A dictionary from tensor path to `PrunableWeight`, in the model's order.

    Raises:
        ValueError: If the model is not built, has nothing to prune, a selector matches
            nothing, or LoRA or quantisation computes a weight that is taken.

    Example:
        >>> model = keras.Sequential(
        ...     [keras.Input((8,)), keras.layers.Dense(4, name="hidden")]
        ... )
        >>> list(prunable_weights(model))
        ['hidden/kernel']
    """
    layers = Layers.of(layers)
    found = {
        path: weight
        for path, weight in _all_weights(model).items()
        if layers.embeddings or weight.attribute != "embeddings"
    }
    if not found:
        raise ValueError(
            f"The model {model.name!r} has nothing to prune: no dense, convolutional, "
            "recurrent or attention kernels. Embedding tables count with "
            "`layers=Layers(embeddings=True)`, and weights of your own layers once "
            "`register_prunable` names them."
        )
    selected = layers.selected(found)
    if layers.skip_output:
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
    for weight in selected.values():
        if weight.is_computed:
            raise ValueError(
                f"`{weight.attribute}` of layer {weight.layer.name!r} is computed from "
                "other weights (LoRA or quantisation), which cannot carry a mask. "
                "Merge or remove them first, or choose other layers with `layers`."
            )
    return selected


def maskable_weights(model: keras.Model) -> dict[str, PrunableWeight]:
    """Return all weights that can carry a mask, embedding tables too, by path.

    Raises:
        ValueError: If the model is not built.
    """
    weights = _all_weights(model)
    return {path: w for path, w in weights.items() if not w.is_computed}


def warn_of_left_out(model: keras.Model, stacklevel: int = 2) -> None:
    """Warn if weights that nothing prunes hold a noteworthy share of a model.

    Warns:
        UserWarning: If trained tensors of two or more dimensions hold 5 % or more of
            what could be pruned with them. Embeddings, normalisation and slopes of
            activations are left out by choice.
    """
    left_out = _left_out(model)
    rest = sum(size for _, _, size in left_out)
    pruned = sum(weight.size for weight in _all_weights(model).values())
    if not left_out or rest < _NOTEWORTHY * (rest + pruned):
        return
    largest = sorted(left_out, key=lambda entry: -entry[2])[:_MOST_NAMED]
    named = ", ".join(f"{path!r} of {owner} ({n:,})" for path, owner, n in largest)
    warnings.warn(
        f"Layers of their own kind hold {rest / (rest + pruned):.0%} of the weights of "
        f"{model.name!r}; they stay dense and do not count in `sparsity`: {named}. "
        "Name them with `register_prunable` to have them pruned; those of a model "
        "itself belong into a layer.",
        stacklevel=stacklevel + 1,
    )


def without_masks(layer: Any) -> list[Any]:
    """Return the weights of a layer or a model but for masks, the only boolean ones."""
    return [w for w in getattr(layer, "weights", ()) if w.dtype != "bool"]


def check_built(model: keras.Model) -> None:
    """Raise unless a model is one of Keras' and built."""
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
    """Return all weights, those too that a layer computes from others."""
    check_built(model)
    found: dict[str, PrunableWeight] = {}
    seen: set[int] = set()
    for name, layer in named_layers(model):
        for weight in _own_weights(layer):
            variable, named = weight.variable, weight.attribute
            if id(variable) in seen:
                continue
            if isinstance(variable, keras.Variable):
                seen.add(id(variable))
                named = variable.name
            path = _unique(f"{name}/{named}", found)
            key = f"{len(found)}/{weight.attribute}"
            found[path] = replace(weight, path=path, key=key)
    return found


def _left_out(model: keras.Model) -> list[tuple[str, str, int]]:
    """Return path, owner's class and size of trained tensors that nothing prunes."""
    pruned = {id(w.variable) for w in _all_weights(model).values()}
    left_out = []
    for name, layer in [(model.name, model), *named_layers(model)]:
        if isinstance(layer, _LEFT_OUT_BY_CHOICE):
            continue
        for variable in layer._trainable_variables:
            is_matrix = len(variable.shape) > 1 and variable.name != "bias"
            if is_matrix and variable.trainable and id(variable) not in pruned:
                path, size = f"{name}/{variable.name}", int(np.prod(variable.shape))
                left_out.append((path, type(layer).__name__, size))
                pruned.add(id(variable))
    return left_out


def weights_of_layer(layer: keras.Layer) -> list[PrunableWeight]:
    """Return the weights that a layer itself owns and that can be pruned.

    Their paths begin with the layer's name: a model around it is not known.
    """
    return [weight for weight in _own_weights(layer) if not weight.is_computed]


def named_layers(
    parent: keras.Layer, prefix: str = ""
) -> Iterator[tuple[str, keras.Layer]]:
    """Yield every layer with the names that lead to it.

    Not with `variable.path`, which is another after a model with wrapped layers is
    saved and loaded.
    """
    for layer in parent._layers:
        yield prefix + layer.name, layer
        yield from named_layers(layer, f"{prefix}{layer.name}/")


def _own_weights(layer: keras.Layer) -> list[PrunableWeight]:
    if not layer.built:
        return []
    known = (found for kind, found in _WEIGHTS_BY_CLASS if isinstance(layer, kind))
    constraints = dict(next(known, {}))
    if isinstance(layer, keras.layers.ReversibleEmbedding) and layer.tie_weights:
        del constraints["reverse_embeddings"]
    for name, axes in _registered(layer).items():
        if name not in constraints and _has_registered(layer, name, axes):
            constraints[name] = f"{name}_constraint"
    found = []
    for name, constraint in constraints.items():
        path, axes = f"{layer.name}/{name}", _unit_axes(layer, name)
        found.append(PrunableWeight(path, name, layer, name, constraint, axes))
    return found


def _has_registered(layer: keras.Layer, name: str, unit_axes: tuple[int, ...]) -> bool:
    if not hasattr(layer, name):
        raise ValueError(
            f"The layer {layer.name!r} of a class that `register_prunable` knows has "
            f"no attribute `{name}`."
        )
    weight = getattr(layer, name)
    rank = 0 if weight is None else len(weight.shape)
    if weight is not None and not all(-rank <= axis < rank for axis in unit_axes):
        raise ValueError(
            f"`unit_axes` of {name!r} in {layer.name!r} must be axes of its {rank} "
            f"dimensions. Received: unit_axes={unit_axes}"
        )
    return weight is not None


def _registered(layer: keras.Layer) -> dict[str, tuple[int, ...]]:
    """Return what is registered for a layer's class and those that it derives from."""
    found: dict[str, tuple[int, ...]] = {}
    for layer_class in reversed(type(layer).__mro__):
        found.update(_REGISTERED.get(layer_class, {}))
    return found


def _unique(path: str, taken: dict[str, PrunableWeight]) -> str:
    """Tell apart layers of one name, which Keras allows in subclassed models."""
    unique, number = path, 2
    while unique in taken:
        unique, number = f"{path}#{number}", number + 1
    return unique


def _unit_axes(layer: keras.Layer, attribute: str) -> tuple[int, ...]:
    if (axes := _registered(layer).get(attribute)) is not None:
        return axes
    if isinstance(layer, TRANSPOSED):
        return (-2,)
    if attribute == "depthwise_kernel" or isinstance(layer, DEPTHWISE):
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
    layers = operation._flatten_layers() if isinstance(operation, keras.Layer) else ()
    return [layer for layer in layers if _own_weights(layer)]
