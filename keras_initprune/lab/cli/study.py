"""`initprune study`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initprune.lab.cli import options
from keras_initprune.quiet import quiet_tensorflow

HELP = (
    "Run a study, many grids of runs out of one file, and write its tables and "
    "figures.\n\n"
    "Finished runs are kept: the same command goes on where it was stopped, and a file "
    "with more parts, methods or seeds adds to what is there."
)


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
    """Run a study; `HELP` says more, where no line is broken."""
    with quiet_tensorflow():
        from keras_initprune.lab import study as studies
        from keras_initprune.lab import terminal
        from keras_initprune.validation import check_positive_integer
    from keras_initprune.lab.cli.console import Console

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
        options.fail(
            f"Interrupted: {finished} of {len(chosen.runs)} runs are kept in {folder}. "
            "The same command goes on from there.",
            options.INTERRUPTED,
        )
    # The page shows all that the folder knows, whatever was chosen now.
    written = studies.write_reports(whole, results, folder, data_dir)
    terminal.say_written(console, written)
