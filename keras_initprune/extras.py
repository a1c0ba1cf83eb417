"""Says which extra brings a package that is missing."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Have imports that fail say what to install.

    Raises:
        ImportError: If it is not installed.

    Example:
        >>> with needs("plots"):
        ...     import no_such_package
        Traceback (most recent call last):
        ImportError: `no_such_package` is missing: pip install 'keras_initprune[plots]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("keras_initprune"):
            raise
        raise ImportError(
            f"`{error.name}` is missing: pip install 'keras_initprune[{extra}]'",
            name=error.name,
        ) from error
