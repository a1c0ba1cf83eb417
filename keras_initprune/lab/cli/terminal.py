"""What commands say when they fail."""

import sys
from typing import NoReturn

INTERRUPTED = 130  # What shells expect of a program that Ctrl-C ended.
BAD_INPUT = 2


def fail(message: str, code: int) -> NoReturn:
    """Print an error and end with an exit code."""
    print(message, file=sys.stderr)
    sys.exit(code)
