"""The graph of a Sequential or Functional model, traced and copied."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_initprune.constraints import copy_weights

Pairs = list[tuple[keras.layers.Layer, keras.layers.Layer]]
Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation, usually a layer, on tensors of the graph.

    Attributes:
        operation: What is called.
        inputs: Numbers of the tensors that it reads.
        outputs: Numbers of the tensors that it computes.
        arguments: All its positional arguments, tensors or not.
        is_plain: Whether it gets nothing but these tensors.
        is_shared: Whether it is called elsewhere too.
        reads_masked: Whether Keras passes a mask of time steps along with an input.
    """

    operation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: tuple[Any, ...]
    is_plain: bool
    is_shared: bool
    reads_masked: bool


@dataclass(frozen=True, eq=False)
class Graph:
    """The calls of a model in an order in which they can be computed.

    Attributes:
        calls: All calls but those of input layers.
        shapes: Shapes of the tensors by number.
        inputs: Numbers of the tensors that the model is given.
        outputs: Numbers of the tensors that it returns.
    """

    calls: tuple[Call, ...]
    shapes: tuple[Shape, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def units(self, tensor: int) -> int:
        """Return the size of a tensor's last axis, 0 if it is open or the batch's."""
        shape = self.shapes[tensor]
        return (shape[-1] or 0) if len(shape) > 1 else 0


def is_graph(layer: Any) -> bool:
    """Return whether a layer is a model that is defined by its graph alone.

    Subclasses that define `call` again may compute anything.
    """
    if not isinstance(layer, keras.Model) or not getattr(layer, "outputs", None):
        return False
    return type(layer).call.__module__.startswith("keras.")


def operations(model: keras.Model) -> Iterator[Any]:
    """Yield what all nested graphs call, once for each call."""
    pending, seen = [model], {id(model)}
    while pending:
        for node in _nodes(pending.pop()):
            yield node.operation
            if is_graph(node.operation) and id(node.operation) not in seen:
                seen.add(id(node.operation))
                pending.append(node.operation)


def call_counts(model: keras.Model) -> Counter[int]:
    """Return how often each operation is called, by its id, in all nested graphs."""
    return Counter(map(id, operations(model)))


def trace(model: keras.Model, counts: Counter[int]) -> Graph:
    """Return a model's graph; `counts` are the `call_counts` of the outermost model."""
    numbers: dict[int, int] = {}
    shapes: list[Shape] = []

    def number(tensor: Any) -> int:
        if id(tensor) not in numbers:
            numbers[id(tensor)] = len(shapes)
            shapes.append(tuple(tensor.shape))
        return numbers[id(tensor)]

    inputs = tuple(number(tensor) for tensor in model.inputs)
    calls = []
    for node in _nodes(model):
        tensors = node.input_tensors
        calls.append(
            Call(
                operation=node.operation,
                inputs=tuple(number(tensor) for tensor in tensors),
                outputs=tuple(number(tensor) for tensor in node.outputs),
                arguments=tuple(node.arguments.args),
                is_plain=_is_plain(node),
                is_shared=counts[id(node.operation)] > 1,
                reads_masked=any(
                    getattr(tensor, "_keras_mask", None) is not None
                    for tensor in tensors
                ),
            )
        )
    outputs = tuple(number(tensor) for tensor in model.outputs)
    return Graph(tuple(calls), tuple(shapes), inputs, outputs)


def _nodes(model: keras.Model) -> Iterator[Any]:
    """Yield the nodes that compute a model's outputs, inputs before outputs."""
    known = {id(tensor) for tensor in model.inputs}
    pending = list(reversed(model.outputs))
    while pending:
        tensor = pending[-1]
        if id(tensor) in known:
            pending.pop()
            continue
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        missing = [parent for parent in node.input_tensors if id(parent) not in known]
        if missing:
            pending.extend(reversed(missing))
            continue
        known.update(id(output) for output in node.outputs)
        yield node


def _is_plain(node: Any) -> bool:
    """Return whether a call gets its tensors only, in order or as one list."""
    arguments = node.arguments
    flat = keras.tree.flatten(arguments.args)
    if not all(isinstance(value, keras.KerasTensor) for value in flat):
        return False
    # Inference is what a call without `training` computes anyway.
    return all(
        value is None or (name == "training" and value is False)
        for name, value in arguments.kwargs.items()
    )


def copy(
    model: keras.Model,
    replace: Callable[[keras.layers.Layer], keras.layers.Layer | None] | None = None,
    prepare: Mapping[int, Callable[[Any], Any]] | None = None,
) -> tuple[keras.Model, Pairs]:
    """Return a copy of a model, with weights of its own, and what each layer became.

    A layer that is met again, in a nested model too, is the same one again.

    Args:
        model: A built model for which `is_graph` holds. It stays as it is.
        replace: Returns a layer to take the place of one, whose weights it sets before
            or the caller afterwards, or None for a copy. Defaults to copies of all.
        prepare: From a layer's id to a function of the symbolic tensor that it reads; a
            Sequential model of such layers becomes a Functional one. Defaults to none.

    Raises:
        ValueError: If a layer is quantised with float8.
    """
    prepare = prepare or {}
    built: dict[int, Any] = {}
    prepared: dict[int, Callable[[Any], Any]] = {}
    pairs: Pairs = []

    def clone(operation: Any) -> Any:
        if id(operation) in built:
            return built[id(operation)]
        is_layer = isinstance(operation, keras.layers.Layer)
        if is_graph(operation):
            new = rebuild(operation)
        else:
            _check_copyable(operation)
            new = replace(operation) if replace and is_layer else None
            is_copy = new is None
            if is_copy:
                new = type(operation).from_config(operation.get_config())
            if is_layer:
                pairs.append((operation, new))
                copies.extend([(operation, new)] * is_copy)
            if id(operation) in prepare:
                prepared[id(new)] = prepare[id(operation)]
        built[id(operation)] = new
        return new

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in prepared:
            args = (prepared[id(layer)](args[0]), *args[1:])
        return layer(*args, **kwargs)

    def rebuild(model: keras.Model) -> keras.Model:
        if isinstance(model, keras.Sequential):
            if not any(id(layer) in prepare for layer in model.layers):
                return keras.models.clone_model(model, clone_function=clone)
            model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        return keras.models.clone_model(model, clone_function=clone, call_function=call)

    copies: Pairs = []
    compiled = model.compiled
    try:
        # Cloning would compile too, from a config that not every loss has.
        model.compiled = False
        copied = rebuild(model)
    finally:
        model.compiled = compiled
    for old, new in copies:
        copy_weights(old, new)
        for layer in new._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()
    return copied, pairs


def _check_copyable(operation: Any) -> None:
    if getattr(operation, "quantization_mode", None) == "float8":
        # Keras builds them with their weights in another order than it quantises them.
        raise ValueError(
            f"The layer {operation.name!r} is quantised with 'float8' and cannot be "
            "copied: compact, export or convert the model before it is quantised."
        )
