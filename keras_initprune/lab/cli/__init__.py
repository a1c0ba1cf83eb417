"""The command line: `initprune compare`, `train`, `report` and more.

TensorFlow takes seconds to load, so only the commands that need
it import it, and only after their arguments have been read.
"""

import inspect
import io
import os
import shutil
import sys
from typing import Annotated, Any

from keras_initprune.imports import needs
from keras_initprune.lab import check_backend

check_backend()
with needs("lab"):
    import typer
    from typer.core import TyperGroup

    from keras_initprune.lab.cli import commands
    from keras_initprune.lab.cli.options import BAD_INPUT, INTERRUPTED, fail
    from keras_initprune.lab.terminal import PLAIN

__all__ = ["app"]


class _Group(TyperGroup):
    """Commands whose errors are one line on stderr, without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and end with its exit code."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A letter that the terminal lacks must not end the command.
                stream.reconfigure(errors=PLAIN)
        refused = (ValueError, OSError, RuntimeError, FloatingPointError, ImportError)
        try:
            with needs("lab"):
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except (KeyboardInterrupt, typer.Abort):
            fail("Interrupted.", INTERRUPTED)
        except refused as error:
            if os.environ.get("INITPRUNE_TRACEBACK"):
                raise
            fail(f"Error: {error}", BAD_INPUT)
        except Exception as error:
            # Usage errors: their common base class moved between versions of typer.
            if not hasattr(error, "format_message"):
                raise
            fail(f"Error: {error.format_message()}", BAD_INPUT)
        sys.exit(code or 0)


# In narrow columns Rich would cut the names of options.
_HAS_ROOM = shutil.get_terminal_size().columns >= 80

app = typer.Typer(
    cls=_Group,
    name="initprune",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if _HAS_ROOM else None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sparse networks from the first epochs: K-starts, dissipating gradients and "
    "their combination.",
    epilog="Set INITPRUNE_TRACEBACK=1 to see where an error comes from.",
)


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


for command in (
    commands.compare,
    commands.train,
    commands.search,
    commands.study,
    commands.report,
    commands.export,
    commands.prepare_data,
):
    # Typer would keep the line breaks within a docstring's paragraphs.
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    app.command(help="\n\n".join(" ".join(each.split()) for each in paragraphs))(
        command
    )
