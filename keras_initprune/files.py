"""Writes files and folders so that a reader never meets half of one."""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# What is written lies in such a folder first, beside where it is to be.
_STAGING = ".initprune-tmp-"
# Arguments of Linux' renameat2: paths are as for rename, and change places.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def no_folder(folder: Path) -> bool:
    """Return that a folder is not ours."""
    return False


@contextlib.contextmanager
def replacing(
    path: str | Path,
    is_ours: Callable[[Path], bool] = no_folder,
    ready: Callable[[Path], object] = lambda temporary: None,
) -> Iterator[Path]:
    """Give a path to write to that takes the place of another when all went well.

    Whenever the process is killed, the old file or folder is at `path`, or the new one.
    What a killed process has begun is removed by the next that writes there. Links are
    followed, so they stay.

    Args:
        path: The file or folder that is to be written, or written anew.
        is_ours: Tells of a folder whether it may be replaced, with all that is in it.
            Defaults to none.
        ready: Called with what was written, just before it takes its place. Defaults to
            nothing.

    Yields:
        A path of the same name, at which nothing is yet.

    Raises:
        OSError: If the folder around `path` cannot be made; if a folder is there that
            is not ours, or something that is neither file nor folder; if a folder
            cannot be replaced in one step on this system.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "new" / "note.txt") as temporary:
        ...     _ = temporary.write_text("done")
        >>> (folder / "new" / "note.txt").read_text()
        'done'
    """
    path = Path(path).resolve()
    check_replaceable(path, is_ours)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    with _staging(path.parent) as staging:
        temporary = staging / path.name
        yield temporary
        # Much may have happened since, so what is there is looked at once more.
        check_replaceable(path, is_ours)
        ready(temporary)
        if path.is_dir() and any(path.iterdir()):
            _exchange(temporary, path)
        else:
            temporary.replace(path)


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file so that it is either the old one or the new one, never half.

    Raises:
        OSError: If it cannot be written, or something else than a file is there.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def check_writable(folder: str | Path) -> None:
    """Make a folder if it is missing, and raise unless files can be written there.

    Raises:
        OSError: If it cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The permission bits do not tell: disks are full or mounted read-only.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"probe")
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"Cannot write to the folder {folder}: {reason}") from error


def check_replaceable(path: Path, is_ours: Callable[[Path], bool] = no_folder) -> None:
    """Raise if something is at a path that no file or folder of ours may replace.

    `is_ours` is that of `replacing`.

    Raises:
        OSError: If it is a folder with something in it that is not ours, or neither
            file nor folder.
    """
    if path.is_dir():
        if any(path.iterdir()) and not is_ours(path):
            raise FileExistsError(
                f"{path} is a folder of other files. Choose another path."
            )
    elif path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is not a file. Choose another path.")


def check_free(paths: Iterable[Path]) -> None:
    """Raise if something is at a path where nothing of ours can be."""
    for path in paths:
        if path.exists():
            raise FileExistsError(
                f"{path} would be replaced, and is of another making. Choose another "
                "--out, or remove it."
            )


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


@contextlib.contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """Make a folder that is this process's alone, as long as it lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=parent))
        with _locked(folder, wait=True):
            # Until it was locked it could be taken for one that was left behind.
            if folder.exists():
                try:
                    yield folder
                finally:
                    shutil.rmtree(folder)
                return


def _sweep(parent: Path) -> None:
    """Remove what killed processes have left half written."""
    for folder in parent.glob(f"{_STAGING}*"):
        with _locked(folder) as is_held:
            if is_held and not folder.is_symlink():
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = False) -> Iterator[bool | None]:
    """Lock a folder for a while, see `lock`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # It is gone, or this system does not open folders.
        yield None
        return
    try:
        yield lock(descriptor, wait)
    finally:
        os.close(descriptor)


def lock(descriptor: int, wait: bool = False) -> bool | None:
    """Lock an open file; the lock ends with the process.

    Returns:
        Whether it is locked now, or None where files cannot be locked.
    """
    try:
        import fcntl
    except ImportError:  # Not on POSIX.
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # Some network drives have no locks.
        return None
    return True


def _exchange(first: Path, second: Path) -> None:
    """Let two paths change places in one step."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, TypeError):  # Not on Linux.
        reason = "it has no renameat2"
    else:
        one, other = os.fsencode(first), os.fsencode(second)
        if rename(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE) == 0:
            return
        reason = os.strerror(ctypes.get_errno())
    raise OSError(
        f"{second} is a folder, and this system cannot replace it in one step "
        f"({reason}). Remove it first, or choose another path."
    )
