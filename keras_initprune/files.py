"""Files that are never half written."""

import os
from pathlib import Path


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file so that it is either the old one or the new one, never half.

    Args:
        path: The file.
        text: Its new content.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
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
    probe = temporary_path(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The permission bits do not tell: disks are full or mounted read-only.
        probe.write_text("probe", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"Cannot write to the folder {folder}: {reason}") from error
