"""Options that several commands take, how lists are read, and how commands fail."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from keras_initprune.lab.runs.configuration import CHECKS

Dataset = Annotated[
    str, typer.Option(help="digits (needs no files), mnist or fashion_mnist.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the data set's IDX files. "
        "Defaults to $KERAS_INITPRUNE_DATA, then to what TFDS has or can download."
    ),
]
Model = Annotated[
    str, typer.Option(help="perceptron, autoencoder, convnet, lenet5, resnet or vit.")
]
ModelFile = Annotated[Path, typer.Argument(help="A .keras file.")]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs of training. Defaults to the data set's.")
]
PruneEpochs = Annotated[
    int | None, typer.Option(help="Epochs after which the mask is final.")
]
K = Annotated[int | None, typer.Option("--k", help="Candidate masks of K-starts.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.")]
LearningRate = Annotated[
    float | None,
    typer.Option(help="Learning rate until the mask is final; then falls to 0."),
]
Optimizer = Annotated[
    str | None, typer.Option(help="adam, or sgd with Nesterov's momentum.")
]
WeightDecay = Annotated[float | None, typer.Option(help="Decoupled weight decay.")]
Distribution = Annotated[
    str | None,
    typer.Option(
        help="uniform, erk or global. Defaults to what suits each method best."
    ),
]

INTERRUPTED = 130  # What shells expect of a program that Ctrl-C ended.
BAD_INPUT = 2


def settings(context: typer.Context) -> dict[str, Any]:
    """Return those of a command's options that `configure` takes by the same name."""
    # The sparsity of a search is that of its objective.
    names = [name for name in context.params if name in CHECKS and name != "sparsity"]
    return {name: context.params[name] for name in names}


def fail(message: str, code: int) -> NoReturn:
    """Print an error and end with an exit code."""
    print(message, file=sys.stderr)
    sys.exit(code)


def fail_interrupted(finished: int, planned: int, what: str, folder: Path) -> NoReturn:
    """Say after Ctrl-C what is kept, and end with an exit code."""
    fail(
        f"Interrupted: {finished} of {planned} {what} are kept in {folder}. "
        "The same command goes on from there.",
        INTERRUPTED,
    )


def split(texts: Sequence[str]) -> list[str]:
    """Return the items of an option that takes commas and repetition."""
    items = [item.strip() for text in texts for item in text.split(",")]
    return [item for item in items if item]


def numbers(texts: Sequence[str], name: str) -> list[float]:
    """Return the numbers of an option that takes commas and repetition."""
    found = []
    for text in split(texts):
        try:
            found.append(float(text))
        except ValueError:
            rule = f"`{name}` must be numbers in [0, 1)."
            raise ValueError(f"{rule} Received: {text!r}") from None
    return found
