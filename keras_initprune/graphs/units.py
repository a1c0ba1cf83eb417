"""Which weights can lose whole units, and which lose them together."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_initprune.constraints.weights import (
    CONVOLUTIONS,
    DEPTHWISE,
    SEPARABLE,
    TRANSPOSED,
    PrunableWeight,
)
from keras_initprune.graphs.graph import (
    Call,
    Graph,
    call_counts,
    is_graph,
    operations,
    trace,
)

layers = keras.layers

# Only these very classes: what a subclass computes is not known.
_OWNERS = {
    **dict.fromkeys((layers.Dense, *CONVOLUTIONS, *TRANSPOSED), "kernel"),
    **dict.fromkeys(SEPARABLE, "pointwise_kernel"),
}


def unit_ties(
    model: keras.Model, weights: Mapping[str, PrunableWeight]
) -> dict[str, str]:
    """Return which of some weights can lose whole units, and which share theirs.

    A unit is an output of a `Dense` layer or a filter of a convolution. Layers whose
    outputs are added, multiplied or compared with each other, as in residual networks,
    share their units: those of one index go together. Units that reach an input or an
    output of the model (or of a model nested in it) through nothing but activations,
    normalisation, pooling or such additions stay, and so do those of layers that are
    called more than once, have groups, or put channels first.

    Args:
        model: A built model.
        weights: The weights in question, by tensor path.

    Returns:
        From the paths of the weights that can lose units to a name that weights with
        the same units have in common.

    Raises:
        ValueError: If the model is not Sequential or Functional, or no weight is left.

    Example:
        >>> from keras_initprune.constraints.weights import prunable_weights
        >>> layers = [keras.layers.Dense(3, name=name) for name in ("first", "last")]
        >>> model = keras.Sequential([keras.Input((2,)), *layers])
        >>> unit_ties(model, prunable_weights(model))
        {'first/kernel': 'first/kernel'}
    """
    if not is_graph(model):
        raise ValueError(
            "`pattern='units'` needs a Sequential or Functional model: which units are "
            "added to which is not known of a subclass that defines `call`. "
            f"Received: model={model!r}"
        )
    paths = {
        id(w.layer): p for p, w in weights.items() if _has_units(w.layer, w.attribute)
    }
    counts = call_counts(model)
    ties: dict[str, str] = {}
    nested = {id(one): one for one in operations(model) if is_graph(one)}
    for part in (model, *nested.values()):
        ties |= _ties_of_graph(trace(part, counts), paths)
    if not ties:
        raise ValueError(
            "`pattern='units'` finds no units that can be removed: those of Dense "
            "layers and convolutions can, but for what the model returns. "
            f"Received: {list(weights)}"
        )
    return {path: ties[path] for path in weights if path in ties}


def _has_units(layer: Any, attribute: str) -> bool:
    return (
        _OWNERS.get(type(layer)) == attribute
        and getattr(layer, "groups", 1) == 1
        and getattr(layer, "data_format", None) != "channels_first"
    )


def _ties_of_graph(graph: Graph, paths: Mapping[int, str]) -> dict[str, str]:
    same = list(range(len(graph.shapes)))

    def find(tensor: int) -> int:
        while same[tensor] != tensor:
            tensor = same[tensor]
        return tensor

    for call in graph.calls:
        if _keeps_units(graph, call):
            for tensor in call.inputs:
                same[find(tensor)] = find(call.outputs[0])
    fixed = {find(tensor) for tensor in _fixed(graph)}
    ties: dict[str, str] = {}
    names: dict[int, str] = {}
    for call in graph.calls:
        path = paths.get(id(call.operation))
        if path is not None:
            units = find(call.outputs[0])
            if call.is_shared:
                fixed.add(units)
            ties[path] = names.setdefault(units, path)
    removable = {name for units, name in names.items() if units not in fixed}
    return {path: name for path, name in ties.items() if name in removable}


def _keeps_units(graph: Graph, call: Call) -> bool:
    """Return whether unit i of every input becomes unit i of the output."""
    sizes = {graph.units(tensor) for tensor in (*call.inputs, *call.outputs)}
    if len(call.outputs) != 1 or len(sizes) != 1 or 0 in sizes:
        return False
    return type(call.operation) in DEPTHWISE or not _mixes(call.operation)


def _mixes(operation: Any) -> bool:
    """Return whether a layer may sum up units: it has matrices, not only scales."""
    if not isinstance(operation, keras.Layer) or type(operation) is layers.PReLU:
        return False
    return any(len(weight.shape) > 1 for weight in operation.weights)


def _fixed(graph: Graph) -> set[int]:
    """Return the tensors all of whose units stay."""
    fixed = {*graph.inputs, *graph.outputs}
    for call in reversed(graph.calls):
        if is_graph(call.operation):
            fixed.update((*call.inputs, *call.outputs))
        elif fixed & {*call.outputs} and not _mixes(call.operation):
            fixed.update(call.inputs)
    return fixed
