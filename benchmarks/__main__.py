"""Lets `python -m benchmarks` run the measures."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.quiet import quiet_tensorflow


def benchmark(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer pairs and a small kernel: a look.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file for the figures; a page and a picture come beside it. "
            "Measures that it already holds stay, unless they are made again."
        ),
    ] = None,
    measures: Annotated[
        str | None,
        typer.Option(
            help="Some of masks, removing, selection, compaction, units, exports, "
            "sparse, break_even and end_to_end, with commas between them. Defaults "
            "to all."
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Interleaved pairs of every timing; 15, quick 3."
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Threads of an operation; 0 for all cores."),
    ] = 1,
) -> None:
    """Measure what pruning costs and saves, as ratios of two sides in one run."""
    with quiet_tensorflow():
        import tensorflow as tf

        from benchmarks import running

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from keras_initprune.lab.terminal import Console

    names = None if measures is None else [m.strip() for m in measures.split(",")]
    try:
        running.run_and_show(Console(), quick, out, names, pairs)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    typer.run(benchmark)
