"""A lock for what several processes write to."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[None]:
    """Keep out other processes that ask for the same lock.

    The lock ends with the process, however that ends. The empty file that stands for it
    stays: removing it would let two processes in.

    Args:
        path: That file; its folder must exist.
        wait: Whether to wait for the process that has it. Defaults to True.

    Raises:
        BlockingIOError: If another process has it and `wait` is False.
        OSError: If the file system has no locks.

    Example:
        >>> import tempfile
        >>> with locked(Path(tempfile.mkdtemp()) / ".lock"):
        ...     pass
    """
    with Path(path).open("w") as file:
        if sys.platform == "win32":
            import msvcrt

            mode = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK
            try:
                msvcrt.locking(file.fileno(), mode, 1)
            except PermissionError as error:
                raise BlockingIOError(*error.args) from error
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
