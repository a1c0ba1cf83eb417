"""`initprune export`, `report` and `prepare-data`: what is made of files."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.lab.cli import options
from keras_initprune.quiet import quiet_tensorflow

HELP = (
    "Write a model without its masks, for where it is to run.\n\n"
    "keras: a plain Keras file. saved_model: a folder for TensorFlow Serving. litert, "
    "litert_int8: for phones and small devices, without the zeros; litert_dense, "
    "litert_int8_dense: with them. numpy: for NumPy and SciPy alone. "
    "onnx: for ONNX Runtime."
)


def export(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
    format: Annotated[
        list[str],
        typer.Option(help="One or several, with commas between them, or all."),
    ] = ["keras"],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write, as MODEL-FORMAT. Defaults to the model's own."
        ),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Take out what does nothing first.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what was written earlier.")
    ] = False,
) -> None:
    """Export a model. `HELP` is what `--help` shows."""
    if not model.is_file():
        raise FileNotFoundError(f"There is no model file {model}.")
    from keras_initprune.lab.cli.console import Console

    with quiet_tensorflow():
        from keras_initprune.lab.runs import exports

    exports.export_and_show(
        model,
        options.split(format),
        out or model.parent,
        compact,
        overwrite,
        Console(),
    )


def report(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
) -> None:
    """Show the sparsity, the parameters and the FLOPs of every layer of a model."""
    if not model.is_file():
        raise FileNotFoundError(f"There is no model file {model}.")
    with quiet_tensorflow():
        from keras_initprune.lab.runs import saved_models
    from keras_initprune.lab.cli.console import Console

    Console().print(saved_models.report_table(saved_models.load(model)))


def prepare_data(
    name: Annotated[str, typer.Argument(help="mnist or fashion_mnist.")],
    data_dir: options.DataDir = None,
    tfds_dir: Annotated[
        Path | None, typer.Option(help="Where TFDS keeps data. Defaults to its own.")
    ] = None,
) -> None:
    """Prepare a data set for TFDS, without a network from a folder of IDX files."""
    with quiet_tensorflow():
        from keras_initprune.lab import datasets

    typer.echo(f"Prepared {datasets.prepare(name, data_dir, tfds_dir)}")
