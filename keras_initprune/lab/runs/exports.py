"""Exports a saved model for the command line, and shows what it takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_initprune.deploy.compaction import CompactionReport, compaction_report
from keras_initprune.deploy.export import (
    FORMATS,
    check_target,
    export,
    is_saved_model,
)
from keras_initprune.files import check_writable, size_of
from keras_initprune.lab.claims import Claim
from keras_initprune.lab.runs.saved_models import load
from keras_initprune.lab.terminal import make_table
from keras_initprune.quiet import quiet_tensorflow

ALL = "all"


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
    names = list(FORMATS) if ALL in formats else list(dict.fromkeys(formats))
    if not names:
        raise ValueError("`format` must name at least one format. Received: none")
    # All that can be refused is refused before anything is written.
    paths = {name: _target(model_path, name, folder) for name in names}
    check_writable(folder)
    source = model_path.stat()
    claim = Claim(
        folder,
        f"export-{model_path.stem}",
        f"{source.st_size} {source.st_mtime_ns} {names} {compact}",
        list(paths.values()),
        overwrite,
        is_saved_model,
    )
    with claim:
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
        units, parameters = (
            (row.units_before, row.units_after),
            (row.parameters_before, row.parameters_after),
        )
        last = row is found.rows[-1]
        cells = [f"{count:,}" for count in (*units, *parameters)]
        table.add_row(row.path, *cells, row.note, end_section=last)
    totals = (f"{found.parameters_before:,}", f"{found.parameters_after:,}")
    table.add_row("all", "", "", *totals, style="bold")
    return table


def _target(model_path: Path, name: str, folder: Path) -> Path:
    suffix = FORMATS[name].suffix if name in FORMATS else ""
    return check_target(folder / f"{model_path.stem}-{name}{suffix}", name)
