"""`initprune prepare-data`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.lab.cli import options
from keras_initprune.quiet import quiet_tensorflow


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
