"""The rounds of a lottery on disk, so that a killed process can go on."""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from keras_initprune.arrays.masks import Mask
from keras_initprune.deploy import numpy_runtime
from keras_initprune.files import check_writable, replacing, write_atomically
from keras_initprune.research.lottery.rewinding import Snapshot

Content = TypeVar("Content")

_SETTINGS, _REWIND = "settings.json", "rewind.npz"


class Storage:
    """A folder with the settings, the snapshot to rewind to, and a file per round.

    A round is there when its file is: every file is the old or the new one, never half.

    Raises:
        OSError: If the folder cannot be written.
        ValueError: If it holds rounds with other settings.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        check_writable(self.folder)
        path = self.folder / _SETTINGS
        text = json.dumps(settings, indent=1)
        if path.exists():
            _check_same(path, json.loads(text))
        else:
            write_atomically(path, text)

    def rounds(self) -> int:
        """Return how many rounds are finished."""
        if not (self.folder / _REWIND).exists():
            return 0
        count = 0
        while self._path(count).exists():
            count += 1
        return count

    def write_rewind(self, snapshot: Snapshot) -> None:
        """Write the snapshot to rewind to."""
        _write(self.folder / _REWIND, _arrays(snapshot))

    def read_rewind(self) -> Snapshot:
        """Read the snapshot to rewind to."""
        return _read(self.folder / _REWIND, _snapshot)

    def write_round(
        self,
        index: int,
        masks: Mapping[str, Mask],
        trained: Snapshot,
        info: Mapping[str, Any],
    ) -> None:
        """Write a finished round: its masks, what they trained to, and plain values."""
        arrays = {
            f"mask_{i}": np.packbits(mask) for i, mask in enumerate(masks.values())
        }
        shapes = {path: list(mask.shape) for path, mask in masks.items()}
        text = json.dumps({**_storable(info), "shapes": shapes}).encode()
        arrays["info"] = np.frombuffer(text, np.uint8)
        _write(self._path(index), {**arrays, **_arrays(trained)})

    def read_round(self, index: int) -> tuple[dict[str, Mask], dict[str, Any]]:
        """Read the masks and the plain values of a finished round."""
        return _read(self._path(index), _round)

    def read_trained(self, index: int) -> Snapshot:
        """Read what a finished round trained to."""
        return _read(self._path(index), _snapshot)

    def _path(self, index: int) -> Path:
        return self.folder / f"round_{index:03d}.npz"


def _check_same(path: Path, settings: Mapping[str, Any]) -> None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged: {error}. Choose another folder."
        ) from error
    if stored != settings:
        raise ValueError(
            "`folder` holds the rounds of another lottery, with the settings "
            f"{stored}. Choose another folder. Received: {settings}"
        )


def _storable(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values; a result of `fit` that cannot be stored is left out."""
    info = dict(info)
    result = info["result"]
    if isinstance(result, keras.callbacks.History):
        info["result"] = result.history
    try:
        return json.loads(json.dumps(info, default=lambda value: value.tolist()))
    except (AttributeError, TypeError, ValueError):
        warnings.warn(
            "What `fit` returned is not stored, since it is neither a `History` nor "
            f"made of plain values: {type(result).__name__}",
            stacklevel=2,
        )
        return {**info, "result": None}


def _arrays(snapshot: Snapshot) -> dict[str, np.ndarray]:
    return {
        **{f"weight_{i}": array for i, array in enumerate(snapshot.weights)},
        **{f"optimizer_{i}": array for i, array in enumerate(snapshot.optimizer)},
    }


def _round(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Mask], dict[str, Any]]:
    info = json.loads(arrays["info"].tobytes())
    masks = {
        path: np.unpackbits(arrays[f"mask_{i}"], count=int(np.prod(shape)))
        .astype(bool)
        .reshape(shape)
        for i, (path, shape) in enumerate(info.pop("shapes").items())
    }
    return masks, info


def _snapshot(arrays: Mapping[str, np.ndarray]) -> Snapshot:
    def numbered(name: str) -> list[np.ndarray]:
        count = sum(key.startswith(f"{name}_") for key in arrays)
        return [arrays[f"{name}_{index}"] for index in range(count)]

    return Snapshot(numbered("weight"), numbered("optimizer"))


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, content: Callable[[dict[str, np.ndarray]], Content]) -> Content:
    """Return what the content of a file stands for."""
    with path.open("rb") as file:
        try:
            return content(numpy_runtime.read_arrays(file))
        except Exception as error:
            # What is damaged raises whatever the damaged part happens to lead to.
            raise ValueError(
                f"{path} is damaged: {error!r}. Delete it and the rounds after it, or "
                "choose another folder."
            ) from error
