"""Writes files and folders so that a reader never meets half of one."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path to write to that takes the place of another when all went well.

    Args:
        path: The file or folder that is to be written, or written anew.

    Yields:
        A path beside it, with its suffix, at which nothing is yet.

    Raises:
        OSError: If the folder around `path` cannot be made.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "new" / "note.txt") as temporary:
        ...     _ = temporary.write_text("done")
        >>> (folder / "new" / "note.txt").read_text()
        'done'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path)
    try:
        yield temporary
        if path.is_dir():
            # A folder cannot be replaced in one step: the old one is moved aside.
            aside = path.with_name(f".{os.getpid()}-old-{path.name}")
            path.rename(aside)
            try:
                temporary.rename(path)
            except OSError:
                aside.rename(path)
                raise
            shutil.rmtree(aside)
        else:
            temporary.replace(path)
    finally:
        remove(temporary)


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file so that it is either the old one or the new one, never half.

    Args:
        path: The file.
        text: Its new content.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _temporary_path(path: Path) -> Path:
    """Return a name beside `path`, with its suffix, that is this process's own."""
    return path.with_name(f".{os.getpid()}-{path.name}")


def check_writable(folder: str | Path) -> None:
    """Make a folder if it is missing, and raise unless files can be written there.

    Args:
        folder: The folder.

    Raises:
        OSError: If it cannot be made or written.
    """
    folder = Path(folder)
    probe = _temporary_path(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The permission bits do not tell: disks are full or mounted read-only.
        probe.write_text("probe", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"Cannot write to the folder {folder}: {reason}") from error


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: str | Path) -> int:
    """Return the bytes of a file, or of all files in a folder.

    Example:
        >>> import tempfile
        >>> size_of(tempfile.mkdtemp())
        0
    """
    path = Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
