"""`initprune compare`."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.lab.cli import options
from keras_initprune.lab.runs.methods import METHODS
from keras_initprune.quiet import quiet_tensorflow

HELP = (
    "Compare pruning methods on real images, in a table and a figure.\n\n"
    "Finished runs are kept: the same command goes on where it was stopped, and one "
    "with more seeds, sparsities or methods adds to what is there."
)


def compare(
    context: typer.Context,
    dataset: options.Dataset = "digits",
    data_dir: options.DataDir = None,
    model: options.Model = "perceptron",
    methods: Annotated[
        list[str],
        typer.Option(
            help=f"Any of {', '.join(METHODS)}; with commas between them, or the "
            "option repeated."
        ),
    ] = ["dense,random,k_starts,dissipating_gradients,combination"],  # noqa: B006
    sparsities: Annotated[
        list[str], typer.Option(help="Fractions to remove, given like the methods.")
    ] = ["0.9,0.95"],  # noqa: B006
    seeds: Annotated[
        int, typer.Option(help="Number of seeds: 3 means the seeds 0, 1 and 2.")
    ] = 3,
    epochs: options.Epochs = None,
    prune_epochs: options.PruneEpochs = None,
    k: options.K = None,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    weight_decay: options.WeightDecay = None,
    distribution: options.Distribution = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results. Defaults to results/DATASET-MODEL."),
    ] = None,
) -> None:
    """Compare pruning methods. `HELP` is what `--help` shows."""
    from keras_initprune.lab.runs.configuration import configure
    from keras_initprune.validation import check_positive_integer

    base = configure(**options.settings(context))
    names = options.split(methods)
    fractions = options.numbers(sparsities, "sparsities")
    count = check_positive_integer(seeds, "seeds")
    folder = out or Path("results") / f"{dataset}-{model}"
    with quiet_tensorflow():
        from keras_initprune.lab.runs import comparison, summary
    from keras_initprune.lab import terminal
    from keras_initprune.lab.cli.console import Console

    # A collection after every run need not look at TensorFlow's modules again.
    gc.freeze()

    console = Console()
    try:
        result = comparison.compare(
            comparison.plan(base, names, fractions, range(count)),
            folder,
            data_dir,
            console,
        )
    except comparison.Interrupted as interrupt:
        finished, planned = interrupt.finished, interrupt.planned
        options.fail_interrupted(finished, planned, "runs", folder)
    if summary.completed(result.runs):
        console.print(summary.rich_table(result.runs))
    for line in summary.failures(result.runs):
        terminal.say(console, line)
    terminal.say_written(console, result.paths)
