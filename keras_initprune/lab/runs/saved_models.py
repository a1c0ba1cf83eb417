"""Models on disk, for the command line: trained, saved, loaded, shown, exported."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_initprune import (
    constraints,  # noqa: F401 - registers the masks, so that models load
)
from keras_initprune.deploy.compaction import CompactionReport, compaction_report
from keras_initprune.deploy.export import FORMATS, check_target, export, is_saved_model
from keras_initprune.files import check_writable, size_of
from keras_initprune.lab.claims import Claim
from keras_initprune.lab.runs import methods, runner
from keras_initprune.lab.runs.configuration import Configuration
from keras_initprune.lab.runs.progress import Interrupts, Progress
from keras_initprune.lab.terminal import make_table, percent, say_written
from keras_initprune.plots.errors import measure_of
from keras_initprune.quiet import quiet_tensorflow
from keras_initprune.reports.report import Report, Row, report

NAMES = ("model.keras", "history.csv", "report.json", "run.json")
_ALL = "all"
_NUMBERS = ("shape", "count", "kept", "sparsity", "effective", "FLOPs", "sparse")
_CAPTION = (
    "sparsity: share of weights that are 0; effective: or on no path from input to "
    "output. FLOPs: of one example's forward pass, 2 per prunable weight and use (a "
    "product and a sum); biases, activations and normalisation are left out. sparse: "
    "the same for the kept weights. A training step counts three times as much."
)


def train_and_save(
    run: Configuration,
    folder: Path,
    data_dir: Path | None,
    overwrite: bool,
    console: Console,
) -> None:
    """Train one network and write its model, history, report and record.

    Raises:
        ValueError: If the configuration is refused.
        OSError: If the data cannot be read, the folder cannot be written, or one of the
            files is there already. Those of the same command, killed while it wrote
            them, are replaced.
    """
    methods.callbacks(run)  # Refuse a wrong setting before anything is done.
    check_writable(folder)
    paths = [folder / name for name in NAMES]
    with Claim(folder, "train", repr(run), paths, overwrite) as claim:
        data = runner.load_data(run, data_dir)
        with Progress([run], 0, console) as progress, Interrupts() as interrupts:
            progress.start(run)
            callbacks = [progress.callback(), interrupts.callback()]
            outcome = runner.train(run, data, callbacks, validate_epochs=True)
        _save(outcome, claim)
    say_written(console, paths)
    measure = measure_of([outcome.record])
    value = measure.show(outcome.record[measure.key], float("nan"))
    console.print(f"\n{measure.label.capitalize()}: {value}\n", highlight=False)
    console.print(report_table(outcome.model))


def _save(outcome: runner.Outcome, claim: Claim) -> None:
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
    lines = [",".join(["epoch", *history])]
    for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
        lines.append(",".join(map(str, (epoch, *values))))
    return "\n".join(lines) + "\n"


def load(path: str | Path) -> keras.Model:
    """Load a model that was saved with its masks.

    Raises:
        ValueError: If it is not one.
    """
    try:
        return keras.saving.load_model(path)
    except Exception as error:
        # Keras raises whatever the archive or a layer happens to raise.
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"Cannot load a model from {path}: {reason}") from error


def report_table(model: keras.Model) -> Table:
    """Return the report of a model as a table for 80 columns."""
    found = report(model)
    table = make_table(("weights", *_NUMBERS), folded=("weights",), caption=_CAPTION)
    for row in found.rows:
        table.add_row(row.path, "x".join(map(str, row.shape)), *_numbers(row))
    table.add_section()
    table.add_row("all prunable", "", *_numbers(found), style="bold")
    total, share = found.total_parameters, percent(found.total_sparsity)
    kept = total - found.parameters + found.kept
    table.add_row("all", "", f"{total:,}", f"{kept:,}", share)
    return table


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


def export_and_show(
    model_path: Path,
    formats: Sequence[str],
    folder: Path,
    compact: bool,
    overwrite: bool,
    console: Console,
) -> None:
    """Write a model in several formats, and show the sizes.

    Raises:
        ValueError: If a format is unknown, or the model cannot be written in it.
        OSError: If something is there already, or the folder cannot be written.
    """
    names = list(FORMATS) if _ALL in formats else list(dict.fromkeys(formats))
    if not names:
        raise ValueError("`format` must name at least one format. Received: none")
    # All that can be refused is refused before anything is written.
    paths = {name: _target(model_path, name, folder) for name in names}
    check_writable(folder)
    source = model_path.stat()
    name = f"export-{model_path.stem}"
    what = f"{source.st_size} {source.st_mtime_ns} {names} {compact}"
    files = list(paths.values())
    with Claim(folder, name, what, files, overwrite, is_saved_model) as claim:
        _export(model_path, paths, compact, console, claim)


def _export(
    model_path: Path,
    paths: Mapping[str, Path],
    compact: bool,
    console: Console,
    claim: Claim,
) -> None:
    with quiet_tensorflow():
        model = load(model_path)
    if compact:
        console.print(compaction_table(compaction_report(model)), "")
    headers = ("format", "path", "bytes", "ratio")
    table = make_table(headers, left=("format",), folded=("path",))
    before = size_of(model_path)
    table.add_row("-", str(model_path), f"{before:,}", "1.00", end_section=True)
    for name, path in paths.items():
        with (
            console.status(Text(f"writing {path}"), spinner="line"),
            claim.replacing(path) as temporary,
            quiet_tensorflow(),
        ):
            export(model, temporary, name, compact)
        size = size_of(path)
        table.add_row(name, str(path), f"{size:,}", f"{size / before:.2f}")
    console.print(table)


def compaction_table(found: CompactionReport) -> Table:
    """Return what compaction does to each layer as a table for 80 columns."""
    headers = ("layer", "units", "left", "parameters", "left", "note")
    table = make_table(headers, folded=("layer", "note"))
    for row in found.rows:
        units = (f"{row.units_before:,}", f"{row.units_after:,}")
        parameters = (f"{row.parameters_before:,}", f"{row.parameters_after:,}")
        table.add_row(row.path, *units, *parameters, row.note)
    table.add_section()
    totals = (f"{found.parameters_before:,}", f"{found.parameters_after:,}")
    table.add_row("all", "", "", *totals, style="bold")
    return table


def _target(model_path: Path, name: str, folder: Path) -> Path:
    suffix = FORMATS[name].suffix if name in FORMATS else ""
    return check_target(folder / f"{model_path.stem}-{name}{suffix}", name)
