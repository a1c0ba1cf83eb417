"""How much each layer shrinks when a model is compacted."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from tabulate import tabulate

from keras_initprune.deploy.compaction.rebuild import Plan, Step, changed_weights

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


@dataclass(frozen=True)
class CompactionReport:
    """Counts of a model. Printed, it is a table.

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
        lines = [
            _line(row.path, (row.units_before, row.units_after), row, row.note)
            for row in self.rows
        ]
        lines.append(_line("all", ("", ""), self, ""))
        align = ("left", *["right"] * 4, "left")
        return tabulate(lines, _HEADERS, disable_numparse=True, colalign=align)


def report_of(plan: Plan) -> CompactionReport:
    """Return the report of a plan."""
    rows: dict[int, CompactionRow] = {}
    for step in plan.all_steps():
        before, after = _parameters(step)
        if before or step.rule.why:
            rows.setdefault(id(step.call.operation), _row(step, before, after))
    return CompactionReport(tuple(rows.values()))


def _row(step: Step, before: int, after: int) -> CompactionRow:
    units = step.facts.present_out[0]
    return CompactionRow(
        path=step.path,
        units_before=units.size,
        units_after=int(units.sum()),
        parameters_before=before,
        parameters_after=after,
        note=_note(step),
    )


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
    # Masks are the only boolean weights.
    weights = [w for w in getattr(layer, "weights", ()) if w.dtype != "bool"]
    before = sum(int(np.prod(weight.shape)) for weight in weights)
    if step.change is None or not isinstance(layer, keras.layers.Layer):
        return before, before
    changed = changed_weights(layer, step.change)
    return before, sum(value.size for value in changed.values())


def _line(name: str, units: tuple[Any, Any], counted: Any, note: str) -> list[str]:
    return [
        name,
        *map(str, units),
        f"{counted.parameters_before:,}",
        f"{counted.parameters_after:,}",
        note,
    ]
