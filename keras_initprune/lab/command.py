"""The command `initprune`, also where the laboratory's packages are missing."""

import sys


def main() -> None:
    """Run the command line, or say in one line what it needs."""
    try:
        from keras_initprune.lab.cli import app
    except ImportError as error:
        sys.exit(f"initprune: {error}")
    app()
