"""What a command holds against other processes: a lock, or the files that it writes."""

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from keras_initprune.files import check_replaceable, lock, no_folder, replacing


@contextlib.contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[None]:
    """Keep out other processes that ask for the same lock, or `wait` for them.

    The lock ends with the process, however that ends. The empty file that stands for it
    stays: removing it would let two processes in. Its folder must exist.

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
            is_held = lock(file.fileno(), wait)
            if is_held is None:
                raise OSError(f"{path} is on a file system without locks.")
            if not is_held:
                raise BlockingIOError(f"Another process has locked {path}.")
        yield


@dataclass
class Claim:
    """The files that a command is going to write, held against other processes.

    A command that is killed between two of its files leaves some. Their identities are
    in a journal beside them until all are there, so the same command knows them for
    its own and goes on; it is refused what anybody else has put there.

    Args:
        folder: Where the files are written. It exists.
        name: Names the journal. Commands whose files have the same names share it.
        command: Everything that decides what is written.
        paths: The files, or folders.
        overwrite: Whether files that are there already may be replaced.
        is_ours: Tells of a folder whether it may be replaced, with all that is in it.
            Defaults to none.

    Raises:
        OSError: On entering, if another process holds them, or one of them exists and
            may not be replaced.

    Example:
        >>> import tempfile
        >>> note = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with Claim(note.parent, "notes", "v1", [note], overwrite=False) as claim:
        ...     with claim.replacing(note) as temporary:
        ...         _ = temporary.write_text("done")
        >>> [path.name for path in note.parent.iterdir()]
        ['note.txt']
    """

    folder: Path
    name: str
    command: str
    paths: Collection[Path]
    overwrite: bool
    is_ours: Callable[[Path], bool] = no_folder

    def __post_init__(self) -> None:
        self.journal = self.folder / f".initprune-{self.name}"

    def __enter__(self) -> "Claim":
        self._descriptor = self._open()
        self._known: set[str] = set()
        try:
            self._known.update(self.journal.read_text(encoding="utf-8").splitlines())
            for path in self.paths:
                self._check(path)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What failed half-way may be repeated, so its journal stays.
        if kind is None or not self._known:
            self.journal.unlink()
        os.close(self._descriptor)

    @contextlib.contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """Give a path to write to, as the function of this name does.

        Raises:
            OSError: If `path` has come to exist and may not be replaced.
        """
        with replacing(path, self.is_ours, self._note) as temporary:
            yield temporary
            self._check(path)

    def _open(self) -> int:
        """Return the open journal, which no other process has."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            descriptor = os.open(self.journal, flags, 0o666)
            if lock(descriptor) is False:
                os.close(descriptor)
                raise OSError(f"Another process is writing to {self.journal.parent}.")
            # It may have been removed before it was locked.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self.journal.stat()):
                    return descriptor
            os.close(descriptor)

    def _check(self, path: Path) -> None:
        check_replaceable(path, self.is_ours)
        if not path.exists() or self.overwrite or self._line(path) in self._known:
            return
        raise FileExistsError(
            f"{path} exists. Choose another --out, or --overwrite it."
        )

    def _note(self, path: Path) -> None:
        self._known.add(self._line(path))
        # A line that a kill has cut must not spoil this one.
        os.write(self._descriptor, f"\n{self._line(path)}\n".encode())

    def _line(self, path: Path) -> str:
        """Return what identifies a file or folder, wherever it is moved."""
        found = path.stat()
        return f"{found.st_ino} {found.st_mtime_ns} {self.command}"
