"""Takes units out of a model that do nothing, and tells how much each layer shrinks."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_initprune import constraints, validation
from keras_initprune.constraints.weights import (
    check_built,
    weights_of_layer,
    without_masks,
)
from keras_initprune.deploy.compaction.choice import rule_for
from keras_initprune.deploy.compaction.rules import Change, Facts, Rule, varying
from keras_initprune.graphs.graph import Call, Graph, call_counts, copy, is_graph, trace
from keras_initprune.tables import html_table, text_table

_HEADERS = ("layer", "units", "left", "parameters", "left", "note")


@dataclass(frozen=True)
class CompactionRow:
    """Counts of one layer.

    Attributes:
        path: Names that lead to the layer.
        units_before: Size of the last axis of what it computes.
        units_after: The same of the compacted model.
        parameters_before: Number of its parameters, without masks.
        parameters_after: The same of the compacted model.
        note: Why it is left alone, what stays, or that it reads through a gather.
    """

    path: str
    units_before: int
    units_after: int
    parameters_before: int
    parameters_after: int
    note: str


@dataclass(frozen=True, repr=False)
class CompactionReport:
    """Counts of a model, shown as a table: in 80 columns, or as HTML in a notebook.

    Attributes:
        rows: One row per layer that has parameters, or that is left alone.
    """

    rows: tuple[CompactionRow, ...]

    @property
    def parameters_before(self) -> int:
        """Number of parameters, without masks."""
        return sum(row.parameters_before for row in self.rows)

    @property
    def parameters_after(self) -> int:
        """Number of parameters of the compacted model."""
        return sum(row.parameters_after for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, fit for JSON."""
        return {
            "parameters_before": self.parameters_before,
            "parameters_after": self.parameters_after,
            "rows": [vars(row) for row in self.rows],
        }

    def __str__(self) -> str:
        return text_table(_HEADERS, self._lines(), prose=True)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(_HEADERS, self._lines(), prose=True)

    def _lines(self) -> list[list[str]]:
        lines = [
            [r.path, str(r.units_before), str(r.units_after), *_counts(r), r.note]
            for r in self.rows
        ]
        return [*lines, ["all", "", "", *_counts(self), ""]]


def _counts(counted: CompactionRow | CompactionReport) -> list[str]:
    return [f"{counted.parameters_before:,}", f"{counted.parameters_after:,}"]


def compact(
    model: keras.Model, keep_masks: bool = False, gather: float = 0.5
) -> keras.Model:
    """Return a smaller model that computes the same function.

    Taken out are units that no other unit reads and units that are constant; what the
    constant ones add goes into the biases of their readers. Then goes what only these
    needed, until nothing is left to take out. Units are those of dense layers, channels
    of convolutions (plain, transposed, depthwise, separable) and columns of embeddings.
    They are followed through normalisation, activations, pooling, padding, flattening,
    reshaping, concatenation and residual additions, and inside nested models. Outputs
    are the same up to float32 rounding, whatever the inputs. The new model is a plain
    Keras model with weights of its own; `model` stays as it is. Zeros beside other
    weights in a unit that stays are kept: pruned weights become cheap here only where
    they empty a unit.

    Left as they are, with all that they read: layers that are called more than once
    (models that are called more than once are compacted inside), recurrent, attention
    and einsum layers, subclasses and layers of your own, grouped convolutions, channels
    first. Where a convolution pads with zeros, a constant channel that is not zero adds
    less at the borders, which no bias can do; one such channel stays and stands in for
    all. `compaction_report` tells what happens to each layer, and why.

    Args:
        model: A built Sequential or Functional model.
        keep_masks: Whether what is left of the masks is installed on the new model, so
            that training it on keeps it sparse. Defaults to False, for a model that
            needs nothing of this package.
        gather: Fraction of its inputs, in [0, 1]. A dense layer that reads no more of
            them (pixels that are not always black, say) gets these alone, selected by
            `keras.ops.take`; a Sequential model becomes a Functional one then. With 1
            that happens wherever an input goes unread, for the fewest parameters, with
            0 never. Defaults to 0.5: a CPU takes longer to select more than it saves in
            the product.

    Returns:
        A new model, compiled as `model` is, with a fresh optimizer.

    Raises:
        ValueError: If the model is not built, or is a subclass of `keras.Model` that
            defines `call`, if `gather` is not in [0, 1], or if `keep_masks` is set and
            there are no masks.

    Example:
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)]
        >>> model = keras.Sequential(layers)
        >>> model.layers[1].kernel.assign([[1.0], [0.0], [2.0]]).shape
        TensorShape([3, 1])
        >>> compact(model).layers[0].units
        2
    """
    steps = plan(model, gather)
    validation.check_boolean(keep_masks, "keep_masks")
    # Masks are the only boolean weights; not every model has something to prune.
    is_masked = any(weight.dtype == "bool" for weight in model.weights)
    if keep_masks and not is_masked:
        raise ValueError(
            f"`keep_masks` needs a model with masks, and {model.name!r} carries none. "
            "Received: keep_masks=True"
        )
    compacted, successors = _build(model, steps)
    if keep_masks:
        _carry_masks(steps, successors)
    elif is_masked and constraints.masked_weights(compacted):
        constraints.remove_masks(compacted)
    if model.compiled:
        compacted.compile_from_config(model.get_compile_config())
    return compacted


def compaction_report(model: keras.Model, gather: float = 0.5) -> CompactionReport:
    """Return how much each layer shrinks when a model is compacted, and why not.

    Args:
        model: As in `compact`; it stays as it is.
        gather: As in `compact`. Defaults to 0.5.

    Returns:
        A `CompactionReport`, which prints as a table.

    Raises:
        ValueError: If the model is not built, or is a subclass of `keras.Model` that
            defines `call`, or if `gather` is not in [0, 1].

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> compaction_report(model).parameters_after
        9
    """
    rows: dict[int, CompactionRow] = {}
    for step in plan(model, gather):
        parameters, units = _parameters(step), step.facts.present_out[0]
        if parameters[0] or step.rule.why:
            counts = (units.size, int(units.sum()), *parameters)
            row = CompactionRow(step.path, *counts, _note(step))
            rows.setdefault(id(step.call.operation), row)
    return CompactionReport(tuple(rows.values()))


@dataclass(frozen=True, eq=False)
class Step:
    """What becomes of one call.

    Attributes:
        path: Names of the models and the layer that lead to it.
        call: The call.
        rule: Its rule.
        facts: What the analysis found around it.
        change: How its layer is built anew, or None if it is copied.
    """

    path: str
    call: Call
    rule: Rule
    facts: Facts
    change: Change | None


def plan(model: keras.Model, gather: float) -> list[Step]:
    """Check a model and say what becomes of its calls and those of models in it."""
    gather = validation.check_share(gather, "gather")
    check_built(model)
    if not is_graph(model):
        raise ValueError(
            "`model` must be a Sequential or Functional model: what a subclass that "
            f"defines `call` computes is not known. Received: model={model!r}"
        )
    counts = call_counts(model)
    pending, seen, steps = [(model, "")], {id(model)}, []
    while pending:
        part, prefix = pending.pop()
        for call, rule, facts in _analyse(trace(part, counts)):
            inner, path = call.operation, prefix + call.operation.name
            if not is_graph(inner):
                change = rule.change(facts, 0.0 if call.reads_masked else gather)
                steps.append(Step(path, call, rule, facts, change))
            elif id(inner) not in seen:
                seen.add(id(inner))
                pending.append((inner, f"{path}/"))
    return steps


def _analyse(graph: Graph) -> list[tuple[Call, Rule, Facts]]:
    """Return every call with its rule, and what is constant and has to stay there."""
    sizes = [graph.units(tensor) for tensor in range(len(graph.shapes))]
    constants = [varying(size) for size in sizes]
    present = [np.zeros(size, bool) for size in sizes]
    for tensor in (*graph.inputs, *graph.outputs):
        present[tensor][:] = True
    found = []
    for call in graph.calls:
        rule = rule_for(graph, call)
        read = [constants[tensor] for tensor in call.inputs]
        computed = rule.constants(read, [sizes[tensor] for tensor in call.outputs])
        for tensor, values in zip(call.outputs, computed, strict=True):
            constants[tensor] = values
        facts = Facts(
            constants_in=read,
            constants_out=computed,
            present_in=[present[tensor] for tensor in call.inputs],
            present_out=[present[tensor] for tensor in call.outputs],
        )
        found.append((call, rule, facts))

    def settle() -> None:
        """Spread needs from outputs to inputs until no more are found."""
        count = -1
        while count != (needed := sum(int(units.sum()) for units in present)):
            count = needed
            for _, rule, facts in reversed(found):
                rule.need(facts)

    settle()
    # No layer of Keras can do without any unit.
    while empty := [units for units in present if units.size and not units.any()]:
        empty[0][0] = True
        settle()
    return found


def _build(
    model: keras.Model, steps: list[Step]
) -> tuple[keras.Model, dict[int, keras.Layer]]:
    """Return the new model, and by its id what each layer has become."""
    changes = {id(s.call.operation): s.change for s in steps if s.change is not None}

    def replace(layer: keras.Layer) -> keras.Layer | None:
        change = changes.get(id(layer))
        return None if change is None else _changed(layer, change)

    prepare = {
        key: functools.partial(_select, positions=change.gather)
        for key, change in changes.items()
        if change.gather is not None
    }
    new_model, pairs = copy(model, replace, prepare)
    for old, new in pairs:
        if id(old) in changes:
            for name, value in _changed_weights(old, changes[id(old)]).items():
                getattr(new, name).assign(value)
    return new_model, {id(old): new for old, new in pairs}


def _changed(layer: keras.Layer, change: Change) -> keras.Layer:
    config = layer.get_config() | change.config
    for weight in weights_of_layer(layer):
        # Its mask has the old shape; masks are carried over afterwards.
        if constraints.mask_variable(weight) is not None:
            inner = keras.constraints.serialize(weight.variable.constraint.inner)
            config[weight.constraint_attribute] = inner
    return type(layer).from_config(config)


def _changed_weights(layer: keras.Layer, change: Change) -> Mapping[str, NDArray]:
    """Return the weights of a layer that is built anew, by their attributes."""
    parts = {
        name: part(ops.convert_to_numpy(getattr(layer, name)))
        for name, part in change.slices.items()
        if name not in change.values and getattr(layer, name, None) is not None
    }
    return {**parts, **change.values}


def _select(inputs: Any, positions: NDArray) -> Any:
    """Return what a layer reads of a symbolic tensor if that is not all."""
    if len(inputs.shape) != 2:
        return ops.take(inputs, positions, axis=-1)
    # Whole rows are copied faster than single numbers, and TensorFlow joins the second
    # transposition with the product that follows.
    rows = ops.take(ops.transpose(inputs), positions, axis=0)
    return ops.transpose(rows)


def _carry_masks(steps: list[Step], successors: dict[int, keras.Layer]) -> None:
    """Give layers that were built anew what is left of their masks."""
    for step in steps:
        if step.change is None:
            continue
        old = step.call.operation
        new = {w.attribute: w for w in weights_of_layer(successors[id(old)])}
        for weight in weights_of_layer(old):
            mask = constraints.mask_variable(weight)
            if mask is not None:
                part = step.change.slices[weight.attribute](ops.convert_to_numpy(mask))
                constraints.install_mask(new[weight.attribute])
                constraints.mask_variable(new[weight.attribute]).assign(part)


def _note(step: Step) -> str:
    if step.rule.why:
        return step.rule.why
    notes = []
    if step.change is not None and step.change.gather is not None:
        present = int(step.facts.present_in[0].sum())
        notes.append(f"reads {step.change.gather.size} of {present} inputs")
    stay = ~np.isnan(step.facts.constants_out[0]) & step.facts.present_out[0]
    if stay.any():
        count = int(stay.sum())
        notes.append(f"{count} constant unit{' stays' if count == 1 else 's stay'}")
    return ", ".join(notes)


def _parameters(step: Step) -> tuple[int, int]:
    layer = step.call.operation
    before = sum(int(np.prod(weight.shape)) for weight in without_masks(layer))
    if step.change is None or not isinstance(layer, keras.layers.Layer):
        return before, before
    changed = _changed_weights(layer, step.change)
    return before, sum(value.size for value in changed.values())
