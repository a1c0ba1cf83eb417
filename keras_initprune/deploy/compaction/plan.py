"""Plans what becomes of a model, and builds it anew."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune.constraints import mask_variable
from keras_initprune.constraints.weights import weights_of_layer
from keras_initprune.deploy.compaction.rule import (
    Change,
    Constants,
    Facts,
    Rule,
    Units,
    varying,
)
from keras_initprune.deploy.compaction.rules import rule_for
from keras_initprune.graphs.copying import copy
from keras_initprune.graphs.graph import Call, Graph, is_graph, trace


@dataclass(frozen=True)
class Analysis:
    """What of a graph is constant and what has to stay.

    Attributes:
        graph: The graph.
        rules: The rule of each call, in the graph's order.
        constants: Constants of each tensor.
        present: Units that stay, of each tensor.
    """

    graph: Graph
    rules: tuple[Rule, ...]
    constants: tuple[Constants, ...]
    present: tuple[Units, ...]

    def steps(self) -> Iterator[tuple[Call, Rule, Facts]]:
        """Yield every call with its rule and what is known around it."""
        for call, rule in zip(self.graph.calls, self.rules, strict=True):
            yield call, rule, self._facts(call)

    def _facts(self, call: Call) -> Facts:
        return Facts(
            constants_in=[self.constants[tensor] for tensor in call.inputs],
            constants_out=[self.constants[tensor] for tensor in call.outputs],
            present_in=[self.present[tensor] for tensor in call.inputs],
            present_out=[self.present[tensor] for tensor in call.outputs],
        )


def analyse(graph: Graph) -> Analysis:
    """Find constant units and those that have to stay."""
    sizes = [graph.units(tensor) for tensor in range(len(graph.shapes))]
    rules = tuple(rule_for(graph, call) for call in graph.calls)
    constants = [varying(size) for size in sizes]
    for call, rule in zip(graph.calls, rules, strict=True):
        found = rule.constants(
            [constants[tensor] for tensor in call.inputs],
            [sizes[tensor] for tensor in call.outputs],
        )
        for tensor, values in zip(call.outputs, found, strict=True):
            constants[tensor] = values
    present = [np.zeros(size, bool) for size in sizes]
    for tensor in (*graph.inputs, *graph.outputs):
        present[tensor][:] = True
    analysis = Analysis(graph, rules, tuple(constants), tuple(present))
    _settle(analysis)
    # No layer of Keras can do without any unit.
    while empty := [units for units in present if units.size and not units.any()]:
        empty[0][0] = True
        _settle(analysis)
    return analysis


def _settle(analysis: Analysis) -> None:
    """Spread needs from outputs to inputs until no more are found."""
    steps = list(analysis.steps())
    count = -1
    while count != (found := sum(int(units.sum()) for units in analysis.present)):
        count = found
        for _, rule, facts in reversed(steps):
            rule.need(facts)


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


def make_plan(
    model: keras.Model,
    gather: float,
    counts: Counter[int],
    prefix: str = "",
    plans: dict[int, Plan] | None = None,
) -> Plan:
    """Analyse a model and the models nested in it."""
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


def build(plan: Plan) -> tuple[keras.Model, dict[int, keras.Layer]]:
    """Return the new model, and by its id what each layer has become."""
    changes = {
        id(step.call.operation): step.change
        for step in plan.all_steps()
        if step.change is not None
    }

    def replace(layer: keras.Layer) -> keras.Layer | None:
        change = changes.get(id(layer))
        return None if change is None else _changed(layer, change)

    prepare = {
        key: change.prepare for key, change in changes.items() if change.prepares
    }
    model, pairs = copy(plan.model, replace, prepare)
    for old, new in pairs:
        if id(old) in changes:
            for name, value in changed_weights(old, changes[id(old)]).items():
                getattr(new, name).assign(value)
    return model, {id(old): new for old, new in pairs}


def _changed(layer: keras.Layer, change: Change) -> keras.Layer:
    config = layer.get_config() | change.config
    for weight in weights_of_layer(layer):
        # Its mask has the old shape; masks are carried over afterwards.
        if mask_variable(weight) is not None:
            inner = keras.constraints.serialize(weight.variable.constraint.inner)
            config[weight.constraint_attribute] = inner
    return type(layer).from_config(config)


def changed_weights(layer: keras.Layer, change: Change) -> Mapping[str, NDArray]:
    """Return the weights of a layer that is built anew, by their attributes."""
    weights = {}
    for name, part in change.slices.items():
        if name in change.values:
            weights[name] = change.values[name]
        elif getattr(layer, name, None) is not None:
            weights[name] = part(keras.ops.convert_to_numpy(getattr(layer, name)))
    return {**weights, **change.values}
