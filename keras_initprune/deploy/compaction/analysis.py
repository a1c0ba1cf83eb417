"""Finds what of a graph has to stay, going over it until nothing changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_initprune.deploy.compaction.rule import (
    Constants,
    Facts,
    Rule,
    Units,
    varying,
)
from keras_initprune.deploy.compaction.rules import rule_for
from keras_initprune.graphs.graph import Call, Graph


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
    """Find constant units and those that have to stay.

    Args:
        graph: The graph of a model.
    """
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
