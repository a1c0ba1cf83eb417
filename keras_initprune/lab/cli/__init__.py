"""The command line: `initprune compare`, `train`, `report` and more.

TensorFlow takes seconds to load, so only the commands that need
it import it, and only after their arguments have been read.
"""

from keras_initprune.imports import needs
from keras_initprune.lab import check_backend

check_backend()
with needs("lab"):
    from keras_initprune.lab.cli import compare, files, search, study, train
    from keras_initprune.lab.cli.app import app

__all__ = ["app"]

app.command(help=compare.HELP)(compare.compare)
app.command()(train.train)
app.command(help=search.HELP)(search.search)
app.command(help=study.HELP)(study.study)
app.command()(files.report)
app.command(help=files.HELP)(files.export)
app.command()(files.prepare_data)
