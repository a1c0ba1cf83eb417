"""The state of a training, to go back to, and callbacks that take and bound it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.constraints.weights import without_masks


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
