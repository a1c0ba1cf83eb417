"""States of trainings, in memory and on disk: what a lottery goes back to."""

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints.weights import without_masks
from keras_initprune.deploy import numpy_runtime
from keras_initprune.files import check_writable, replacing, write_atomically


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The values of a model's weights and of its optimizer's variables.

    Masks are not among them. The optimizer's are its slots and its count of steps, on
    which learning-rate schedules depend.

    Attributes:
        weights: Values of the weights, in the model's order.
        optimizer: Values of the optimizer's variables, in its order; empty if the
            snapshot is one of the weights alone.
    """

    weights: Sequence[np.ndarray]
    optimizer: Sequence[np.ndarray]

    @classmethod
    def of(cls, model: keras.Model, optimizer: bool = True) -> Self:
        """Take a snapshot of a compiled model, with its optimizer or without."""
        variables = _optimizer_variables(model) if optimizer else []
        return cls(_values(without_masks(model)), _values(variables))

    def restore(self, model: keras.Model) -> None:
        """Give a model these values, but for what its masks remove.

        Raises:
            ValueError: If the model or its optimizer has other variables.
        """
        variables = without_masks(model)
        if self.optimizer:
            variables += _optimizer_variables(model)
        values = [*self.weights, *self.optimizer]
        shapes = [[tuple(v.shape) for v in each] for each in (values, variables)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "`model` must have the weights and the optimizer of the model that the "
                f"tickets come from. Expected: variables of shapes {shapes[0]}. "
                f"Received: {shapes[1]}"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        constraints.project(model)


class TakeSnapshot(keras.callbacks.Callback):
    """Takes a snapshot once a model has trained for so many steps or epochs."""

    def __init__(self, at: int, unit: str) -> None:
        super().__init__()
        self.at = at
        self.unit = unit
        self.snapshot: Snapshot | None = None
        self.first_step: int | None = None
        self.last_step = 0
        self._epochs = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Count from here, unless an earlier `fit` of the same round did."""
        if self.first_step is None:
            self.first_step = constraints.training_step(self.model)
            if self.at == 0:
                self.snapshot = Snapshot.of(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take the snapshot if its step is over."""
        if self.unit == "step" and self.snapshot is None:
            self._take_after(self._steps())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the snapshot if its epoch is over."""
        self._epochs += 1
        if self.unit == "epoch" and self.snapshot is None:
            self._take_after(self._epochs)

    def on_train_end(self, logs: Any = None) -> None:
        """Note how long the training was."""
        self.last_step = self._steps()

    def _steps(self) -> int:
        assert self.first_step is not None
        return constraints.training_step(self.model) - self.first_step

    def _take_after(self, done: int) -> None:
        if done > self.at:
            raise ValueError(
                "`rewind_to` must be a multiple of `steps_per_execution`, after which "
                f"Keras comes back. Received: rewind_to={self.at}, "
                f"steps_per_execution={self.model.steps_per_execution}"
            )
        if done == self.at:
            self.snapshot = Snapshot.of(self.model)


class StopAt(keras.callbacks.Callback):
    """Ends training at a step of the optimizer."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop if the step is over."""
        if constraints.training_step(self.model) >= self.step:
            self.model.stop_training = True


def _optimizer_variables(model: keras.Model) -> list[Any]:
    if not model.optimizer.built:
        with constraints.strategy_scope(model):
            model.optimizer.build(model.trainable_variables)
    return list(model.optimizer.variables)


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    arrays = [keras.ops.convert_to_numpy(variable) for variable in variables]
    # NumPy cannot store bfloat16; float32 holds every value of it.
    return [
        array.astype(np.float32) if "bfloat16" in array.dtype.name else np.array(array)
        for array in arrays
    ]


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
