"""`initprune train`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.lab.cli import options
from keras_initprune.lab.runs.methods import METHODS
from keras_initprune.quiet import quiet_tensorflow


def train(
    context: typer.Context,
    method: Annotated[
        str, typer.Option(help=f"One of {', '.join(METHODS)}.")
    ] = "combination",
    sparsity: Annotated[
        float | None, typer.Option(help="Fraction of the weights to remove.")
    ] = None,
    dataset: options.Dataset = "digits",
    data_dir: options.DataDir = None,
    model: options.Model = "perceptron",
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
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
        typer.Option(help="Folder to write. Defaults to trained/DATASET-MODEL-METHOD."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier model there.")
    ] = False,
) -> None:
    """Train one network; write its model, history, report and record."""
    from keras_initprune.lab.runs.configuration import configure

    run = configure(**options.settings(context), sparsity=sparsity)
    folder = out or Path("trained") / f"{dataset}-{model}-{method}"
    with quiet_tensorflow():
        from keras_initprune.lab.runs import saved_models
    from keras_initprune.lab.cli.console import Console

    saved_models.train_and_save(run, folder, data_dir, overwrite, Console())
