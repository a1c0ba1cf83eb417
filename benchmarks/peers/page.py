"""Shows what the peers found, as a page."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers.side import DENSE, Record
from keras_initprune.lab.terminal import markdown_table

TITLES = {
    "perceptron": "Perceptron 784-300-100-10",
    "lenet5": "LeNet-5-Caffe: 20 and 50 filters of 5 x 5, 500 units",
}
_ERRORS = ("peer", "method", "asked", "sparsity", "error, %", "loaded, %")
_ZEROS = ("peer", "method", "asked", "trained on", "loaded", "loaded, trained on")
_COSTS = ("peer", "method", "asked", "step, ms", "dense, ms", "ratio", "training, s",
          "memory, MB", "file, kB", "zipped, kB")  # fmt: skip
_TEXTS = ("peer", "method")


def markdown(
    records: Sequence[Record],
    heading: str,
    missing: Sequence[tuple[str, str]],
) -> str:
    """Return a page of three tables for every network."""
    parts = [
        f"# Beside the peers\n\n{heading}\n",
        f"## Versions\n\n{_versions(records)}\n",
    ]
    if missing:
        lines = "\n".join(f"- {peer}: {reason}." for peer, reason in missing)
        parts.append(f"## What is not compared\n\n{lines}\n")
    for network, title in TITLES.items():
        mine = [record for record in records if record.task.network == network]
        if mine:
            parts.append(f"## {title}\n\n{_tables(mine)}\n")
    return "\n".join(parts)


def _versions(records: Sequence[Record]) -> str:
    found = {record.task.peer: record.versions for record in records if record.versions}
    return "\n".join(f"- {versions}" for versions in found.values())


def _tables(records: Sequence[Record]) -> str:
    pruned = [record for record in records if record.task.method != DENSE]
    notes: list[str] = []
    best = {
        sparsity: min(
            (r.error for r in pruned if _is_at(r, sparsity) and r.error is not None),
            default=None,
        )
        for sparsity in {record.task.sparsity for record in pruned}
    }

    def errors(record: Record) -> list[str]:
        is_best = record.task.method != DENSE and (
            _is_at(record, record.task.sparsity)
            and record.error == best[record.task.sparsity]
        )
        error = _percent(record, "error", notes)
        return [
            _percent(record, "sparsity", notes),
            f"**{error}**" if is_best else error,
            _percent(record, "loaded_error", notes),
        ]

    def zeros(record: Record) -> list[str]:
        names = ("tuned_sparsity", "loaded_sparsity", "loaded_tuned_sparsity")
        return [_percent(record, name, notes) for name in names]

    def costs(record: Record) -> list[str]:
        step, dense = record.step_seconds, record.dense_step_seconds
        return [
            _cell(record, "step_seconds", notes, lambda s: f"{1000 * s:.2f}"),
            _cell(record, "dense_step_seconds", notes, lambda s: f"{1000 * s:.2f}"),
            f"{step / dense:.2f}" if step and dense else "",
            _cell(record, "seconds", notes, lambda s: f"{s:.1f}"),
            _cell(record, "memory", notes, lambda b: f"{b / 1e6:.0f}"),
            _cell(record, "file_size", notes, lambda b: f"{b / 1e3:.0f}"),
            _cell(record, "zipped_size", notes, lambda b: f"{b / 1e3:.0f}"),
        ]

    tables = [
        _table(records, _ERRORS, errors),
        "Zeros, in % of the weights, after more training without the peer's callback, "
        "of the network\nthat was trained and of the one that was loaded from its "
        "file:\n",
        _table(pruned, _ZEROS, zeros),
        "What it costs:\n",
        _table(records, _COSTS, costs),
        *[f"[{number}] {note}\n" for number, note in enumerate(notes, 1)],
    ]
    return "\n".join(tables).rstrip()


def _is_at(record: Record, sparsity: float) -> bool:
    """Return whether a record is of this sparsity, and has as many zeros."""
    found = record.sparsity
    return record.task.sparsity == sparsity and (
        found is not None and found >= sparsity - 0.005
    )


def _table(
    records: Sequence[Record],
    headers: Sequence[str],
    cells: Callable[[Record], list[str]],
) -> str:
    lines = [
        [
            record.task.peer,
            record.task.method,
            f"{100 * record.task.sparsity:g}" if record.task.method != DENSE else "",
            *cells(record),
        ]
        for record in records
    ]
    return markdown_table(lines, headers, _TEXTS) + "\n"


def _percent(record: Record, name: str, notes: list[str]) -> str:
    return _cell(record, name, notes, lambda share: f"{100 * share:.2f}")


def _cell(
    record: Record, name: str, notes: list[str], show: Callable[[Any], str]
) -> str:
    """Return a figure, or the number of the note that says why there is none."""
    value = getattr(record, name)
    if value is not None:
        return show(value)
    reasons = record.notes or {}
    reason = reasons.get(name) or reasons.get("training")
    if reason is None:
        return ""
    # What a peer says may be long; the file of figures has more of it.
    reason = textwrap.shorten(reason, 160, placeholder=" ...")
    if reason not in notes:
        notes.append(reason)
    return f"[{notes.index(reason) + 1}]"
