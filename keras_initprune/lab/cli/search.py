"""`initprune search`."""

import gc
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_initprune.lab.cli import options
from keras_initprune.lab.runs.configuration import configure
from keras_initprune.lab.terminal import Console
from keras_initprune.quiet import quiet_tensorflow
from keras_initprune.validation import check_positive


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
    check_positive(patience, "patience", below=options.FOREVER)
    if minutes is not None:
        check_positive(minutes, "minutes", below=options.FOREVER)
    _check_use("sparsity", sparsity, objective, ("accuracy_at_sparsity",))
    _check_use("tolerance", tolerance, objective, ("sparsity_within_tolerance",))
    _check_use("address", address, role, ("chief", "worker"))
    _check_use("port", port, role, ("chief", "worker"))
    folder = out or Path("searches") / f"{dataset}-{model}"
    with quiet_tensorflow():
        from keras_initprune.lab.search import search as searching
        from keras_initprune.lab.search.settings import SearchSettings
        from keras_initprune.tuner import roles

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
        with roles.playing(role, name=name, **_given(address=address, port=port)):
            outcome = searching.Search(
                settings, folder, data_dir, strategy, devices, patience, console
            ).run()
    except searching.Interrupted as interrupt:
        options.fail_interrupted(interrupt.finished, trials, "trials", folder)
    if outcome is not None:
        outcome.show(console)


def _given(**chosen: Any) -> dict[str, Any]:
    """Return the options without those that keep their defaults."""
    return {name: value for name, value in chosen.items() if value is not None}


def _check_use(option: str, value: Any, chosen: str, needed: tuple[str, ...]) -> None:
    """Raise if an option was given where it would do nothing."""
    if value is not None and chosen not in needed:
        raise ValueError(
            f"`{option}` is for {' and '.join(needed)}. Received: {chosen!r}"
        )
