"""The command line: `initprune compare`, `train`, `report`, `benchmark` and more.

One file per command. TensorFlow takes seconds to load, so only the commands that need
it import it, and only after their arguments have been read.
"""

from keras_initprune.cli import benchmark, compare, prepare_data, report, train
from keras_initprune.cli.app import app

__all__ = ["app", "main"]

app.command(help=compare.HELP)(compare.compare)
app.command()(train.train)
app.command()(report.report)
app.command()(prepare_data.prepare_data)
app.command()(benchmark.benchmark)


def main() -> None:
    """Run the command line."""
    app()
