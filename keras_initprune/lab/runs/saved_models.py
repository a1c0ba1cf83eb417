"""Models on disk, for the command line: trained and saved, loaded, shown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
from rich.console import Console
from rich.table import Table

from keras_initprune import (
    constraints,  # noqa: F401 - registers the masks, so that models load
)
from keras_initprune.files import check_writable
from keras_initprune.lab.claims import Claim
from keras_initprune.lab.runs import methods, runner
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.interrupts import Interrupts
from keras_initprune.lab.runs.progress import make_progress
from keras_initprune.lab.terminal import make_table, percent, say_written
from keras_initprune.plots.errors import measure_of
from keras_initprune.reports.report import Report, Row, report

NAMES = ("model.keras", "history.csv", "report.json", "run.json")


def train_and_save(
    run: Configuration,
    folder: str | Path,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> None:
    """Train one network and write its model, history, report and record.

    Raises:
        ValueError: If the configuration is refused.
        OSError: If the data cannot be read, the folder cannot be written, or one of the
            files is there already. Those of the same command, killed while it wrote
            them, are replaced.
    """
    folder, console = Path(folder), console or Console()
    methods.callbacks(run)  # Refuse a wrong setting before anything is done.
    check_writable(folder)
    paths = [folder / name for name in NAMES]
    with Claim(folder, "train", repr(run), paths, overwrite) as claim:
        data = runner.load_data(run, data_dir)
        with make_progress([run], 0, console) as progress, Interrupts() as interrupts:
            progress.start(run)
            callbacks = [progress.callback(), interrupts.callback()]
            outcome = runner.train(run, data, callbacks, validate_epochs=True)
        save(outcome, claim)
    say_written(console, paths)
    measure = measure_of([outcome.record])
    value = measure.show(outcome.record[measure.key], float("nan"))
    console.print(f"\n{measure.label.capitalize()}: {value}\n", highlight=False)
    console.print(report_table(outcome.model))


def save(outcome: runner.Outcome, claim: Claim) -> None:
    """Write what a run left behind; no file is ever half written."""
    texts = (
        history_csv(outcome.history),
        json.dumps(report(outcome.model).as_dict(), indent=1),
        json.dumps(outcome.record, indent=1),
    )
    model, *others = claim.paths
    with claim.replacing(model) as temporary:
        outcome.model.save(temporary)
    for path, text in zip(others, texts, strict=True):
        with claim.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def history_csv(history: Mapping[str, Sequence[float]]) -> str:
    """Return a training history as CSV, one line per epoch.

    Example:
        >>> print(history_csv({"loss": [0.5, 0.25]}).strip())
        epoch,loss
        1,0.5
        2,0.25
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *history])
    for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
        writer.writerow([epoch, *values])
    return text.getvalue()


def load(path: str | Path) -> keras.Model:
    """Load a model that was saved with its masks.

    Raises:
        ValueError: If it is not one.
    """
    try:
        return keras.saving.load_model(path)
    except Exception as error:
        # Keras raises whatever the archive or a layer happens to raise.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ValueError(f"Cannot load a model from {path}: {reason}") from error


def report_table(model: keras.Model) -> Table:
    """Return the report of a model as a table for 80 columns."""
    found = report(model)
    table = make_table(("weights", *_NUMBERS), folded=("weights",), caption=_CAPTION)
    for row in found.rows:
        last = row is found.rows[-1]
        shape = "x".join(map(str, row.shape))
        table.add_row(row.path, shape, *_numbers(row), end_section=last)
    table.add_row("all prunable", "", *_numbers(found), style="bold")
    others = found.total_parameters - found.parameters
    kept, share = others + found.kept, percent(found.total_sparsity)
    table.add_row("all", "", f"{found.total_parameters:,}", f"{kept:,}", share)
    return table


_NUMBERS = ("shape", "count", "kept", "sparsity", "effective", "FLOPs", "sparse")
_CAPTION = (
    "sparsity: share of weights that are 0; effective: or on no path from input to "
    "output. FLOPs: of one example's forward pass, 2 per prunable weight and use (a "
    "product and a sum); biases, activations and normalisation are left out. sparse: "
    "the same for the kept weights. A training step counts three times as much."
)


def _numbers(counted: Row | Report) -> list[str]:
    return [
        f"{counted.parameters:,}",
        f"{counted.kept:,}",
        percent(counted.sparsity),
        percent(counted.effective_sparsity),
        _compact(counted.flops_dense),
        _compact(counted.flops_sparse),
    ]


def _compact(number: int | None) -> str:
    """Return a number with three digits and a unit.

    Example:
        >>> _compact(470_400), _compact(999), _compact(None)
        ('470 k', '999', '-')
    """
    if number is None:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {unit}"
    return str(number)
