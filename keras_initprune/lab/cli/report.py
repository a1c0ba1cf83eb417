"""`initprune report`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.quiet import quiet_tensorflow


def report(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
) -> None:
    """Show the sparsity, the parameters and the FLOPs of every layer of a model."""
    if not model.is_file():
        raise FileNotFoundError(f"There is no model file {model}.")
    with quiet_tensorflow():
        from keras_initprune.lab.runs import training
    from keras_initprune.lab.cli.console import Console

    Console().print(training.report_table(training.load(model)))
