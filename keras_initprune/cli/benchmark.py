"""`initprune benchmark`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.cli.terminal import quiet_tensorflow


def benchmark(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer pairs and a small kernel: a look.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="A JSON file to write the figures to.")
    ] = None,
) -> None:
    """Measure what masks and selection cost, as ratios of two sides in one run."""
    with quiet_tensorflow():
        from keras_initprune.experiments import benchmark as measuring
    from rich.console import Console

    measuring.run_and_show(Console(), quick, out)
