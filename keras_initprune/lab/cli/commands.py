"""The commands of `initprune`, in the order in which its help lists them."""

import gc
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_initprune.lab import terminal
from keras_initprune.lab.cli import options
from keras_initprune.lab.runs.configuration import METHODS, configure
from keras_initprune.lab.terminal import Console
from keras_initprune.quiet import quiet_tensorflow
from keras_initprune.validation import check_positive_integer


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
    """Compare pruning methods on real images, in a table and a figure.

    Finished runs are kept: the same command goes on where it was stopped, and one
    with more seeds, sparsities or methods adds to what is there.
    """
    base = configure(**options.settings(context))
    names = options.split(methods)
    fractions = options.numbers(sparsities, "sparsities")
    count = check_positive_integer(seeds, "seeds")
    folder = out or Path("results") / f"{dataset}-{model}"
    with quiet_tensorflow():
        from keras_initprune.lab.runs import comparison

    # A collection after every run need not look at TensorFlow's modules again.
    gc.freeze()

    console = Console()
    try:
        planned = comparison.plan(base, names, fractions, range(count))
        result = comparison.compare(planned, folder, data_dir, console)
    except comparison.Interrupted as interrupt:
        options.fail_interrupted(interrupt.finished, interrupt.planned, "runs", folder)
    if comparison.completed(result.runs):
        console.print(comparison.rich_table(result.runs))
    for line in comparison.failures(result.runs):
        terminal.say(console, line)
    terminal.say_written(console, result.paths)


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
    run = configure(**options.settings(context), sparsity=sparsity)
    folder = out or Path("trained") / f"{dataset}-{model}-{method}"
    with quiet_tensorflow():
        from keras_initprune.lab.runs import saved_models

    saved_models.train_and_save(run, folder, data_dir, overwrite, Console())


def search(
    context: typer.Context,
    dataset: options.Dataset = "digits",
    data_dir: options.DataDir = None,
    model: options.Model = "perceptron",
    objective: Annotated[
        str,
        typer.Option(
            help="accuracy_at_sparsity (the best at --sparsity or above), "
            "sparsity_within_tolerance (the highest within --tolerance of dense) or "
            "pareto_front (both)."
        ),
    ] = "accuracy_at_sparsity",
    sparsity: Annotated[
        float | None,
        typer.Option(help="For accuracy_at_sparsity, in [0, 1). Defaults to 0.95."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="For sparsity_within_tolerance. Defaults to 0.005, half a point of "
            "accuracy."
        ),
    ] = None,
    tuner: Annotated[
        str, typer.Option(help="bayesian, random, hyperband or grid.")
    ] = "bayesian",
    trials: Annotated[int, typer.Option(help="Budget of trials.")] = 20,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Begin no trial after so many minutes. Defaults to no limit."
        ),
    ] = None,
    methods: Annotated[
        list[str],
        typer.Option(
            help="Choose among combination, dissipating_gradients, k_starts and "
            "random; with commas between them, or the option repeated."
        ),
    ] = ["combination,dissipating_gradients,k_starts"],  # noqa: B006
    sparsities: Annotated[
        list[str],
        typer.Option(
            help="Choose among these. Defaults to --sparsity for accuracy_at_sparsity, "
            "and to 0.8 to 0.99 for the other objectives."
        ),
    ] = [],  # noqa: B006
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    weight_decay: options.WeightDecay = None,
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
    strategy: Annotated[
        str,
        typer.Option(
            help="How a trial uses this machine: none (TensorFlow's default), "
            "one_device, or mirrored (all GPUs, or parts of the CPU)."
        ),
    ] = "none",
    devices: Annotated[
        int | None, typer.Option(help="Devices of mirrored. Defaults to all GPUs.")
    ] = None,
    role: Annotated[str, typer.Option(help="single, chief or worker.")] = "single",
    address: Annotated[
        str | None, typer.Option(help="The chief's address. Defaults to 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The chief's port. Defaults to 8000.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="A worker's own name. Defaults to machine and process."),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(help="Seconds of silence after which chief or worker is lost."),
    ] = 60.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the search. Defaults to searches/DATASET-MODEL."),
    ] = None,
) -> None:
    """Search how to prune, with KerasTuner: k, sparsity, epochs, fitness, selection.

    Ends in a table and a figure of all trials, and the best network. Finished trials
    are kept: the same command goes on where it was stopped.

    On several machines that share the output folder, start the same command once
    with --role chief, and with --role worker wherever there is something to train
    with. They talk unencrypted: keep them on a network that you trust.
    """
    run = configure(**options.settings(context))
    fractions = options.numbers(sparsities, "sparsities")
    _check_use("sparsity", sparsity, objective, ("accuracy_at_sparsity",))
    _check_use("tolerance", tolerance, objective, ("sparsity_within_tolerance",))
    _check_use("address", address, role, ("chief", "worker"))
    _check_use("port", port, role, ("chief", "worker"))
    folder = out or Path("searches") / f"{dataset}-{model}"
    with quiet_tensorflow():
        from keras_initprune.lab.search import search as searching
        from keras_initprune.lab.search.settings import SearchSettings
        from keras_initprune.tuner import workers

    settings = SearchSettings(
        run=run,
        objective=objective,
        algorithm=tuner,
        trials=trials,
        minutes=minutes,
        methods=options.split(methods),
        sparsities=fractions,
        **_given(sparsity=sparsity, tolerance=tolerance),
    )
    # A collection before every trial need not look at TensorFlow's modules again.
    gc.freeze()
    console = Console()
    try:
        with workers.playing(role, name=name, **_given(address=address, port=port)):
            outcome = searching.Search(
                settings, folder, data_dir, strategy, devices, patience, console
            ).run()
    except searching.Interrupted as interrupt:
        options.fail_interrupted(interrupt.finished, trials, "trials", folder)
    if outcome is not None:
        outcome.show(console)


def study(
    file: Annotated[Path, typer.Argument(help="The study, a TOML file.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of results, tables and figures. Defaults to FILE's."),
    ] = None,
    parts: Annotated[
        list[str],
        typer.Option(help="Only these parts, with commas between them. Default: all."),
    ] = [],  # noqa: B006
    seeds: Annotated[
        int | None, typer.Option(help="Only the first so many seeds of each part.")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Runs at the same time, each on one thread.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler, whose workers train instead of this "
            "machine. Trusted networks only."
        ),
    ] = None,
    data_dir: options.DataDir = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing, write the report.")
    ] = False,
) -> None:
    """Run a study, many grids of runs out of one file, and write its tables and figures.

    Finished runs are kept: the same command goes on where it was stopped, and a file
    with more parts, methods or seeds adds to what is there.
    """  # noqa: E501
    with quiet_tensorflow():
        from keras_initprune.lab import study as studies

    check_positive_integer(workers, "workers")
    count = None if seeds is None else check_positive_integer(seeds, "seeds")
    console = Console()
    folder = out or file.parent
    whole = studies.read_study(file)
    chosen = whole.choose(options.split(parts), count)
    results = studies.StudyResults(folder)
    try:
        if not report_only:
            results = studies.run_study(
                chosen, folder, workers, data_dir, scheduler, console
            )
    except KeyboardInterrupt:
        finished = sum(results.find(run) is not None for run in chosen.runs)
        options.fail_interrupted(finished, len(chosen.runs), "runs", folder)
    # The page shows all that the folder knows, whatever was chosen now.
    written = studies.write_reports(whole, results, folder, data_dir)
    terminal.say_written(console, written)


def report(model: options.ModelFile) -> None:
    """Show the sparsity, the parameters and the FLOPs of every layer of a model."""
    _check_exists(model)
    with quiet_tensorflow():
        from keras_initprune.lab.runs import saved_models

    Console().print(saved_models.report_table(saved_models.load(model)))


def export(
    model: options.ModelFile,
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
    """Write a model without its masks, for where it is to run.

    keras: a plain Keras file. saved_model: a folder for TensorFlow Serving. litert,
    litert_int8: for phones and small devices, without the zeros; litert_dense,
    litert_int8_dense: with them. numpy: for NumPy and SciPy alone. onnx: for ONNX
    Runtime.
    """
    _check_exists(model)
    with quiet_tensorflow():
        from keras_initprune.lab.runs import saved_models

    formats, folder = options.split(format), out or model.parent
    saved_models.export_and_show(model, formats, folder, compact, overwrite, Console())


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


def _check_exists(model: Path) -> None:
    # Seconds before TensorFlow is there to say so.
    if not model.is_file():
        raise FileNotFoundError(f"There is no model file {model}.")


def _given(**chosen: Any) -> dict[str, Any]:
    """Return the options without those that keep their defaults."""
    return {name: value for name, value in chosen.items() if value is not None}


def _check_use(option: str, value: Any, chosen: str, needed: tuple[str, ...]) -> None:
    """Raise if an option was given where it would do nothing."""
    if value is not None and chosen not in needed:
        raise ValueError(
            f"`{option}` is for {' and '.join(needed)}. Received: {chosen!r}"
        )
