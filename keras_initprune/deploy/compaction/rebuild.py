"""Builds a model anew from what an analysis of its graph found."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
from numpy.typing import NDArray

from keras_initprune.constraints import MaskConstraint, copy_weights
from keras_initprune.deploy.compaction.analysis import Analysis, analyse
from keras_initprune.deploy.compaction.rule import Change, Facts, Rule
from keras_initprune.graphs.graph import Call, call_counts, is_graph, trace


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


@dataclass(eq=False)
class Plan:
    """What becomes of a model and of the models nested in it.

    Attributes:
        model: The model.
        steps: What becomes of each of its calls.
        nested: Plans of the models that it calls, by their id.
    """

    model: keras.Model
    steps: list[Step]
    nested: dict[int, "Plan"] = field(default_factory=dict)

    def parts(self) -> Iterator["Plan"]:
        """Yield this plan and those of the models nested in it, each once."""
        pending, seen = [self], {id(self)}
        while pending:
            part = pending.pop()
            yield part
            for inner in part.nested.values():
                if id(inner) not in seen:
                    seen.add(id(inner))
                    pending.append(inner)

    def all_steps(self) -> Iterator[Step]:
        """Yield the steps of all parts, but for the calls of nested models."""
        for part in self.parts():
            for step in part.steps:
                if id(step.call.operation) not in part.nested:
                    yield step

    @property
    def prepares_inputs(self) -> bool:
        """Whether a layer of the model itself reads but a selection of its input."""
        return any(step.change and step.change.prepares for step in self.steps)


def make_plan(
    model: keras.Model,
    gather: float,
    counts: Counter[int],
    prefix: str = "",
    plans: dict[int, Plan] | None = None,
) -> Plan:
    """Analyse a model and the models nested in it.

    Args:
        model: A built model that is defined by its graph.
        gather: Fraction of its inputs up to which a dense layer selects them.
        counts: How often each operation is called in all of them.
        prefix: Names of the models around it.
        plans: Plans that exist already, by the id of the model.
    """
    plans = {} if plans is None else plans
    analysis: Analysis = analyse(trace(model, counts))
    plan = plans[id(model)] = Plan(model, [])
    for call, rule, facts in analysis.steps():
        inner = call.operation
        change = rule.change(facts, 0.0 if call.reads_masked else gather)
        path = prefix + inner.name
        plan.steps.append(Step(path, call, rule, facts, change))
        if is_graph(inner):
            if id(inner) not in plans:
                make_plan(inner, gather, counts, f"{path}/", plans)
            plan.nested[id(inner)] = plans[id(inner)]
    return plan


def copy(
    model: keras.Model, changes: Mapping[int, Change] | None = None
) -> keras.Model:
    """Return a copy of a model, with weights of its own.

    Args:
        model: A built model that is defined by its graph.
        changes: How layers are built anew, by their id. Defaults to no changes.
    """
    plan = make_plan(model, 0.0, call_counts(model))
    changes = changes or {}
    for part in plan.parts():
        part.steps = [
            replace(step, change=changes.get(id(step.call.operation)))
            for step in part.steps
        ]
    builder = Builder()
    copied = builder.build(plan)
    builder.set_weights(plan)
    return copied


class Builder:
    """Builds what plans say; a layer that is met again is the same one again."""

    def __init__(self) -> None:
        self.built: dict[int, Any] = {}

    def build(self, plan: Plan) -> keras.Model:
        """Return a new model with new layers, whose weights are not set yet."""
        steps = {id(step.call.operation): step for step in plan.steps}

        def clone(operation: Any) -> Any:
            if id(operation) not in self.built:
                inner = plan.nested.get(id(operation))
                self.built[id(operation)] = (
                    self.build(inner)
                    if inner is not None
                    else copy_of(operation, steps.get(id(operation)))
                )
            return self.built[id(operation)]

        if isinstance(plan.model, keras.Sequential) and not plan.prepares_inputs:
            return keras.models.clone_model(plan.model, clone_function=clone)
        changes = {
            id(clone(step.call.operation)): step.change
            for step in plan.steps
            if step.change and step.change.prepares
        }

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            change = changes.get(id(layer))
            if change is not None:
                args = (change.prepare(args[0]), *args[1:])
            return layer(*args, **kwargs)

        model = plan.model
        if isinstance(model, keras.Sequential):
            model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        return keras.models.clone_model(model, clone_function=clone, call_function=call)

    def set_weights(self, plan: Plan) -> None:
        """Give all new layers their weights."""
        for step in plan.all_steps():
            old = step.call.operation
            if not isinstance(old, keras.layers.Layer):
                continue
            new = self.built[id(old)]
            if step.change is None:
                _copy_weights(old, new)
            else:
                for name, value in changed_weights(old, step.change).items():
                    getattr(new, name).assign(value)


def copy_of(operation: Any, step: Step | None) -> Any:
    """Return a new operation of the same configuration, or of a changed one."""
    if getattr(operation, "quantization_mode", None) == "float8":
        # Keras builds them with their weights in another order than it quantises them.
        raise ValueError(
            f"The layer {operation.name!r} is quantised with 'float8' and cannot be "
            "copied: compact or export the model before it is quantised."
        )
    config = operation.get_config()
    change = None if step is None else step.change
    if change is not None:
        config |= change.config
        for name, value in vars(operation).items():
            # Its mask has the old shape; masks are carried over afterwards.
            if isinstance(value, MaskConstraint):
                config[name] = keras.constraints.serialize(value.inner)
    return type(operation).from_config(config)


def changed_weights(layer: keras.Layer, change: Change) -> Mapping[str, NDArray]:
    """Return the weights of a layer that is built anew, by their attributes."""
    weights = {}
    for name, part in change.slices.items():
        if name in change.values:
            weights[name] = change.values[name]
        elif getattr(layer, name, None) is not None:
            weights[name] = part(keras.ops.convert_to_numpy(getattr(layer, name)))
    return {**weights, **change.values}


def _copy_weights(old: keras.Layer, new: keras.Layer) -> None:
    copy_weights(old, new)
    for layer in new._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
