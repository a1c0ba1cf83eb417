"""The command line: `initprune compare`, `train`, `report`, `benchmark` and more.

TensorFlow takes seconds to load, so only the commands that need it import it, and only
after their arguments have been read.
"""

import contextlib
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from keras_initprune.experiments.methods import METHODS

INTERRUPTED = 130  # What shells expect of a program that Ctrl-C ended.
BAD_INPUT = 2


class _Group(TyperGroup):
    """Commands whose errors are one line on stderr, without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and end with its exit code."""
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except (KeyboardInterrupt, typer.Abort):
            _fail("Interrupted.", INTERRUPTED)
        except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
            if os.environ.get("INITPRUNE_TRACEBACK"):
                raise
            _fail(f"Error: {error}", BAD_INPUT)
        except Exception as error:
            # Usage errors: their common base class moved between versions of typer.
            if not hasattr(error, "format_message"):
                raise
            _fail(f"Error: {error.format_message()}", BAD_INPUT)
        sys.exit(code or 0)


app = typer.Typer(
    cls=_Group,
    name="initprune",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sparse networks from the first epochs: K-starts, dissipating gradients and "
    "their combination.",
    epilog="Set INITPRUNE_TRACEBACK=1 to see where an error comes from.",
)

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
Model = Annotated[str, typer.Option(help="perceptron, autoencoder or convnet.")]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs of training. Defaults to the data set's.")
]
PruneEpochs = Annotated[
    int | None, typer.Option(help="Epochs after which the mask is final.")
]
K = Annotated[int | None, typer.Option("--k", help="Candidate masks of K-starts.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.")]
LearningRate = Annotated[
    float | None, typer.Option(help="Adam's first learning rate; falls to 0.")
]
Distribution = Annotated[
    str | None,
    typer.Option(
        help="uniform, erk or global. Defaults to what suits each method best."
    ),
]


@app.callback(invoke_without_command=True)
def _app(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.")
    ] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"initprune {installed('keras_initprune')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    help="Compare pruning methods on real images, in a table and a figure.\n\n"
    "Finished runs are kept: the same command goes on where it was stopped, and one "
    "with more seeds, sparsities or methods adds to what is there."
)
def compare(
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    model: Model = "perceptron",
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
    epochs: Epochs = None,
    prune_epochs: PruneEpochs = None,
    k: K = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    distribution: Distribution = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results. Defaults to results/DATASET-MODEL."),
    ] = None,
) -> None:
    """Compare pruning methods; the long help is above, where no line is broken."""
    from keras_initprune.experiments.configuration import configure
    from keras_initprune.validation import check_positive_integer

    base = configure(
        dataset,
        model,
        epochs=epochs,
        prune_epochs=prune_epochs,
        k=k,
        batch_size=batch_size,
        learning_rate=learning_rate,
        distribution=distribution,
    )
    names = _split(methods)
    fractions = [_number(text, "sparsities") for text in _split(sparsities)]
    count = check_positive_integer(seeds, "seeds")
    folder = out or Path("results") / f"{dataset}-{model}"
    with _quiet_tensorflow():
        from keras_initprune.experiments import comparison, tables
    from rich.console import Console

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
        _fail(
            f"Interrupted: {interrupt.finished} of {interrupt.planned} runs are kept "
            f"in {folder}. The same command goes on from there.",
            INTERRUPTED,
        )
    console.print(tables.rich_table(result.runs))
    for path in result.paths:
        console.print(f"Wrote {path}", highlight=False, soft_wrap=True)


@app.command()
def train(
    method: Annotated[
        str, typer.Option(help=f"One of {', '.join(METHODS)}.")
    ] = "combination",
    sparsity: Annotated[
        float | None, typer.Option(help="Fraction of the weights to remove.")
    ] = None,
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    model: Model = "perceptron",
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
    epochs: Epochs = None,
    prune_epochs: PruneEpochs = None,
    k: K = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    distribution: Distribution = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write. Defaults to trained/DATASET-MODEL-METHOD."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier model there.")
    ] = False,
) -> None:
    """Train one network; write its model, history, report and record."""
    from keras_initprune.experiments.configuration import configure

    run = configure(
        dataset,
        model,
        method,
        sparsity=sparsity,
        seed=seed,
        epochs=epochs,
        prune_epochs=prune_epochs,
        k=k,
        batch_size=batch_size,
        learning_rate=learning_rate,
        distribution=distribution,
    )
    folder = out or Path("trained") / f"{dataset}-{model}-{method}"
    with _quiet_tensorflow():
        from keras_initprune.experiments import training
    from rich.console import Console

    training.train_and_save(run, folder, data_dir, overwrite, Console())


@app.command()
def report(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
) -> None:
    """Show the sparsity, the parameters and the FLOPs of every layer of a model."""
    if not model.is_file():
        raise FileNotFoundError(f"There is no model file {model}.")
    with _quiet_tensorflow():
        from keras_initprune.experiments import training
    from rich.console import Console

    Console().print(training.report_table(training.load(model)))


@app.command()
def prepare_data(
    name: Annotated[str, typer.Argument(help="mnist or fashion_mnist.")],
    data_dir: DataDir = None,
    tfds_dir: Annotated[
        Path | None, typer.Option(help="Where TFDS keeps data. Defaults to its own.")
    ] = None,
) -> None:
    """Prepare a data set for TFDS, without a network from a folder of IDX files."""
    with _quiet_tensorflow():
        from keras_initprune import datasets

    typer.echo(f"Prepared {datasets.prepare(name, data_dir, tfds_dir)}")


@app.command()
def benchmark(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer pairs and a small kernel: a look.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="A JSON file to write the figures to.")
    ] = None,
) -> None:
    """Measure what masks and selection cost, as ratios of two sides in one run."""
    with _quiet_tensorflow():
        from keras_initprune.experiments import benchmark as measuring
    from rich.console import Console

    measuring.run_and_show(Console(), quick, out)


def main() -> None:
    """Run the command line."""
    app()


def _split(texts: Sequence[str]) -> list[str]:
    """Return the items of an option that takes commas and repetition."""
    items = [item.strip() for text in texts for item in text.split(",")]
    return [item for item in items if item]


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"`{name}` must be numbers in [0, 1). Received: {text!r}"
        ) from None


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Keep TensorFlow's start-up messages off the terminal, unless it fails to start.

    Some are written before the log level counts, straight to the file descriptor.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        stderr = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
            # It warns of tracing one function per model, which is what it takes.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
        except ImportError:
            log.seek(0)
            os.write(stderr, log.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


if __name__ == "__main__":
    main()
