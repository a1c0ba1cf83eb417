"""MNIST and Fashion-MNIST through TensorFlow Datasets, with or without a network."""

import contextlib
import functools
import io
import logging
import os
import tempfile
import urllib.error
import urllib.request
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_initprune.imports import needs
from keras_initprune.lab.datasets import idx
from keras_initprune.validation import check_choice

Split = tuple[np.ndarray, np.ndarray]

MAXIMUM = 255.0
"""The largest raw pixel value."""

DATA_VARIABLE = "KERAS_INITPRUNE_DATA"
"""The environment variable that names a directory of IDX files."""

# MD5 of the uncompressed files. The compressed ones differ between mirrors.
_MD5S = {
    "mnist": {
        "train-images": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels": "a25bea736e30d166cdddb491f175f624",
        "t10k-images": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}

NAMES = tuple(_MD5S)
"""The data sets that are prepared with TensorFlow Datasets."""

_TIMEOUT_SECONDS = 15

_logger = logging.getLogger(__name__)


def prepare(
    name: str,
    data_dir: str | PathLike[str] | None = None,
    tfds_dir: str | PathLike[str] | None = None,
) -> Path:
    """Prepare a data set for TensorFlow Datasets, once; afterwards it only loads.

    The stock TFDS builder does the work, so that `tfds.load(name, download=False)`
    finds the result, too. It writes to a temporary directory that is renamed at the
    end: what an interrupted preparation leaves behind is never taken for data.

    Args:
        name: `"mnist"` or `"fashion_mnist"`.
        data_dir: Directory with the four IDX files, or with a subdirectory of them
            that is called `name`. Only read from. Its files are checked even where
            the data set is prepared already. Defaults to the environment variable
            `KERAS_INITPRUNE_DATA`; without it the files are downloaded.
        tfds_dir: Where TFDS keeps its data sets. Defaults to the environment
            variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

    Returns:
        The directory of the prepared data set.

    Raises:
        FileNotFoundError: `data_dir` or one of its files does not exist.
        ValueError: `name` is unknown, or a file is not what was published.
        RuntimeError: The files could not be downloaded, or the place of the
            prepared data is taken by something else.

    Reference:
        LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to
        document recognition", Proceedings of the IEEE, 1998. Xiao, Rasul and
        Vollgraf, "Fashion-MNIST", 2017 (arXiv 1708.07747).
    """
    check_choice(name, "name", NAMES)
    builder = _prepared_builder(name, data_dir, tfds_dir)
    return Path(builder.data_path)


def read(name: str, data_dir: str | PathLike[str] | None) -> tuple[Split, Split]:
    """Return the raw training and test parts, `((images, labels), ...)`.

    Images are uint8 of shape `(n, 28, 28, 1)`, in the order in which TFDS keeps
    them, which is not the order of the IDX files.
    """
    builder = _prepared_builder(name, data_dir, None)
    folder = str(builder.data_path)
    return _decoded(folder, "train"), _decoded(folder, "test")


def _prepared_builder(
    name: str,
    data_dir: str | PathLike[str] | None,
    tfds_dir: str | PathLike[str] | None,
) -> Any:
    with needs("lab"):
        import tensorflow_datasets as tfds

    # TFDS itself reads TFDS_DATA_DIR only once, when it is first imported.
    directory = tfds_dir or os.environ.get("TFDS_DATA_DIR")
    builder = tfds.builder(name, data_dir=directory and Path(directory).expanduser())
    # Wrong files that are named in the call are an error even when no longer needed:
    # whether they are noticed must not depend on what was prepared before.
    contents = idx.read_all(data_dir, name, _MD5S[name]) if data_dir else None
    if _is_prepared(builder):
        return builder
    _logger.info("Preparing %s in %s", name, builder.data_path)
    if contents is None and os.environ.get(DATA_VARIABLE):
        contents = idx.read_all(os.environ[DATA_VARIABLE], name, _MD5S[name])
    if contents is None:
        _prepare_by_download(builder)
    else:
        with tempfile.TemporaryDirectory() as downloads:
            _stage(builder, contents, Path(downloads))
            _generate(builder, downloads)
    if not _is_prepared(builder):
        raise RuntimeError(
            f"{str(builder.data_path)!r} exists but holds no prepared data set, and "
            "TensorFlow Datasets does not replace it. Remove it and try again."
        )
    return builder


def _is_prepared(builder: Any) -> bool:
    # Asked about a directory that does not exist, TFDS logs a warning.
    return builder.data_path.exists() and builder.is_prepared()


def _prepare_by_download(builder: Any) -> None:
    try:
        _check_reachable(next(iter(builder.url_infos)))
        _generate(builder, None)
    except Exception as error:
        raise RuntimeError(
            f"{builder.name!r} could not be downloaded: {error}\n"
            "Without a network, give a directory of its four IDX files: as "
            f"`data_dir` (--data-dir), in the environment variable {DATA_VARIABLE}, "
            f"or once and for all: initprune prepare-data {builder.name} "
            "--data-dir DIRECTORY"
        ) from error


def _check_reachable(url: str) -> None:
    """Fail at once where TFDS would retry for minutes."""
    request = urllib.request.Request(url, method="HEAD")
    # An answer with an error is one: then TFDS finds out what is wrong.
    with (
        contextlib.suppress(urllib.error.HTTPError),
        urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS),
    ):
        pass


def _stage(builder: Any, contents: dict[str, bytes], downloads: Path) -> None:
    """Lay the files out as TFDS leaves what it has downloaded."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import resource

    folder = downloads / builder.name
    folder.mkdir()
    for url, info in builder.url_infos.items():
        original = Path(url).name
        path = folder / resource.get_dl_fname(url, info.checksum)
        path.write_bytes(contents[original.split("-idx")[0]])
        resource.write_info_file(
            url=url,
            path=tfds.core.Path(path),
            dataset_name=builder.name,
            # TFDS decompresses what was called .gz; this is decompressed already.
            original_fname=original.removesuffix(".gz"),
            url_info=info,
        )


def _generate(builder: Any, downloads: str | None) -> None:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=downloads)
    except OSError:
        # Another process may have prepared the same data set in the meantime; the
        # slower of the two then fails to rename its directory.
        if not _is_prepared(builder):
            raise


@functools.lru_cache(maxsize=2 * len(NAMES))
def _decoded(folder: str, split: str) -> Split:
    """Decode a prepared split, once per process: that takes longer than an epoch.

    It stays in memory as bytes, 47 MB with the training images; what `load` returns are
    copies of it.
    """
    import tensorflow_datasets as tfds

    # TFDS' own cache is of tensors, and only for as long as the pipeline.
    config = tfds.ReadConfig(try_autocache=False)
    builder = tfds.builder_from_directory(folder)
    return tfds.as_numpy(
        builder.as_dataset(
            split=split, batch_size=-1, as_supervised=True, read_config=config
        )
    )
