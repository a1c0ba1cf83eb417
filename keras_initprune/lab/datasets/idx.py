"""Files in IDX format: finding them, reading them, knowing them for the right ones.

The format is a magic number of four bytes (two zeros, the type, the number of
dimensions), one big-endian 32-bit integer per dimension, and the raw values.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

_UNSIGNED_BYTE = 8

# File stem -> shape of what was published, the same for all data sets.
_SHAPES = {
    "train-images": (60_000, 28, 28),
    "train-labels": (60_000,),
    "t10k-images": (10_000, 28, 28),
    "t10k-labels": (10_000,),
}


def locate(directory: str | PathLike[str], name: str) -> dict[str, Path]:
    """Find the four IDX files of the data set `name`: file stem -> path.

    Each may be compressed (`.gz`) or not, and be called `-idx3-ubyte` or `.idx3-ubyte`.

    Raises:
        FileNotFoundError: The directory or a file in it does not exist.
    """
    parent = Path(directory).expanduser()
    if not parent.is_dir():
        raise FileNotFoundError(
            "`data_dir` must be an existing directory of IDX files. "
            f"Received: data_dir={str(directory)!r}"
        )
    folder = parent / name if (parent / name).is_dir() else parent
    return {stem: _find(folder, stem, name) for stem in _SHAPES}


def read(path: Path, stem: str, md5: str) -> bytes:
    """Return the uncompressed content of an IDX file, header included.

    Raises:
        ValueError: It cannot be decompressed, is not an IDX file, is longer than the
            one published, has another length than its header says, or another content
            than the one published.
    """
    shape = _SHAPES[stem]
    # No file that unpacks to more than the published one is read to its end.
    content = _decompress(path, 4 + 4 * len(shape) + math.prod(shape))
    _check_length(path, content, len(shape))
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(
            f"{str(path)!r} is an IDX file, but not the one that was published: its "
            f"uncompressed content must have the MD5 {md5}. Received: {found}"
        )
    return content


def read_all(
    directory: str | PathLike[str], name: str, md5s: Mapping[str, str]
) -> dict[str, bytes]:
    """Locate and read the four files, checked: file stem -> content."""
    paths = locate(directory, name)
    return {stem: read(path, stem, md5s[stem]) for stem, path in paths.items()}


def _find(folder: Path, stem: str, name: str) -> Path:
    suffix = f"idx{len(_SHAPES[stem])}-ubyte"
    names = [f"{stem}{dot}{suffix}{gz}" for gz in ("", ".gz") for dot in "-."]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise FileNotFoundError(
        f"`data_dir` must hold the four IDX files of {name!r}, in it or in a "
        f"subdirectory {name!r}: found none of {', '.join(names)}. "
        f"Received: {str(folder)!r}"
    )


def _decompress(path: Path, limit: int) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{str(path)!r} must be a complete gzip file. Received: {error}"
        ) from error
    if len(content) > limit:
        raise ValueError(
            f"{str(path)!r} must be {limit} bytes long (uncompressed), as the one that "
            "was published is. Received: more than that"
        )
    return content


def _check_length(path: Path, content: bytes, dimensions: int) -> None:
    magic = bytes([0, 0, _UNSIGNED_BYTE, dimensions])
    header = len(magic) + 4 * dimensions
    if content[: len(magic)] != magic or len(content) < header:
        raise ValueError(
            f"{str(path)!r} must be an IDX file of unsigned bytes in {dimensions} "
            f"dimension(s), so begin with {magic.hex()} and {dimensions} size(s). "
            f"Received: {len(content)} bytes, beginning with {content[:4].hex()}"
        )
    sizes = struct.unpack(f">{dimensions}I", content[len(magic) : header])
    expected = header + math.prod(sizes)
    if len(content) != expected:
        raise ValueError(
            f"{str(path)!r} must be {expected} bytes long (uncompressed), as its "
            f"header says: it is incomplete or has been added to. "
            f"Received: {len(content)} bytes"
        )
