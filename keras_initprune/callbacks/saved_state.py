"""What the pruning callbacks of one `fit` share and save, so that a killed one goes on.

While `fit` runs, the schedule hangs on the model as one more thing that Keras saves
with the weights. Whatever saves weights, `BackupAndRestore` above all, thus saves the
state of every phase in the same file and at the same moment: the two are never out of
step.
"""

import inspect
import json
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initprune import backend, constraints
from keras_initprune.arrays.masks import kept_counts

_ATTRIBUTE = "_initprune_schedule"
_HEADER = "header"

# State of a callback: arrays by name, and arrays by tensor path by name.
State = dict[str, Any]


class Clock(NamedTuple):
    """How far a callback has come."""

    next_epoch: int  # Index of the epoch that comes next, or is under way.
    step: int  # Number of optimizer steps when that epoch began.
    epochs_seen: int  # Number of epochs of this `fit` that have ended.
    phase_open: bool  # Whether the callback's phase is still to end.


class Schedule:
    """The pruning callbacks of one `fit`, in the order in which they act."""

    def __init__(self, model: keras.Model) -> None:
        self.callbacks: list[Any] = []
        self.epochs_taken = 0  # By the callbacks so far, of those of this `fit`.
        # State of each callback out of a file that was loaded before training began, or
        # None. Empty if the file held none.
        self.restored: list[State] | None = None
        self._model = model
        self._history = getattr(model, "history", None)
        # Those that save the best epoch, and what each has to beat.
        self._checkpoints = [
            (callback, callback.best)
            for callback in _callbacks_of_fit()
            if isinstance(callback, keras.callbacks.ModelCheckpoint)
            and callback.save_best_only
        ]
        self._kept_at_start: int | None = None
        self._kept_at_end: int | None = None
        vars(model)[_ATTRIBUTE] = _SavedSchedule(self)

    @classmethod
    def of(cls, model: keras.Model) -> "Schedule":
        """Return the schedule of the `fit` that is being set up."""
        saved = vars(model).get(_ATTRIBUTE)
        # Keras makes a new history for every `fit` before callbacks see the model.
        if saved is None or saved.schedule._is_over(getattr(model, "history", None)):
            return cls(model)
        return saved.schedule

    def add(self, callback: Any) -> None:
        """Take in the next callback of the list."""
        if callback not in self.callbacks:
            self.callbacks.append(callback)

    def state(self) -> list[State]:
        """Return what every callback needs to go on, and the seeds of random layers."""
        # Keras saves no seeds of layers, and a mask depends on what dropout dropped.
        seeds = {str(i): v.numpy() for i, v in enumerate(self._random_states())}
        shared: State = {"seeds": seeds}
        if (generator := backend.random_state()) is not None:
            shared["generator"] = generator
        return [*(callback.state() for callback in self.callbacks), shared]

    def restore(self, store: Mapping[str, np.ndarray]) -> None:
        """Take over the state out of a file, unless training has begun."""
        if self._has_begun():
            return
        if len(store) == 0:
            self.restored = []
            return
        states, identities = read_states(store)
        expected = self.identities()
        if identities != expected:
            raise ValueError(
                "The file holds the state of other pruning callbacks than this `fit` "
                "was given, so training cannot go on from it. Give the same callbacks "
                f"in the same order, or delete the file. Expected: {identities}. "
                f"Received: {expected}"
            )
        *self.restored, shared = states
        for variable, seed in zip(
            self._random_states(), shared.get("seeds", {}).values(), strict=True
        ):
            variable.assign(seed)
        if "generator" in shared:
            backend.set_random_state(shared["generator"])

    def state_for(self, callback: Any) -> State | None:
        """Return what a callback has to go on from, or None at a fresh start."""
        if self.restored:
            return self.restored[self.callbacks.index(callback)]
        if self.restored is not None and getattr(self._model, "_initial_epoch", None):
            raise ValueError(
                "The weights were restored in the middle of training, from a file "
                "without the state of the pruning callbacks: it was written by a `fit` "
                "without them. Delete the file to begin anew."
            )
        return None

    def begin(self, steps: int | None) -> None:
        """Get ready for the first epoch, of `steps` steps if Keras knows it."""
        # The history is the last callback: when it ends, all others have.
        if self._history is not None:
            vars(self._history)["on_train_end"] = lambda logs=None: self.close()
        clocks = [Clock(*s["clock"].tolist()) for s in self.restored or () if s]
        # `BackupAndRestore` writes weights first and the number of the epoch after: a
        # process killed in between would train an epoch twice.
        if clocks and self._model._initial_epoch == clocks[0].next_epoch:
            trained = constraints.training_step(self._model) - clocks[0].step
            if trained == steps:
                self._model._initial_epoch += 1

    def epoch_begins(self) -> None:
        """Have what saves the best epoch choose among those with the final masks.

        The best of all epochs is likely one from before the pruning.
        """
        if not self._checkpoints or not self._has_begun(all):
            return
        kept = self._kept()
        if self._kept_at_start is None:
            self._kept_at_start = kept
        if all(callback.is_over for callback in self.callbacks):
            for checkpoint, best in self._checkpoints:
                if kept < self._kept_at_start:
                    checkpoint.best = best
            self._checkpoints = []

    def guard_end(self) -> None:
        """Let no weights from before the last pruning come back from now on.

        `EarlyStopping` puts the weights of its best epoch back when training ends, and
        with them their masks; it cannot know that they are not sparse yet.
        """
        if self._kept_at_end is None and self._history is not None:
            self._kept_at_end = self._kept()
            vars(self._model)["set_weights"] = self._set_weights

    def close(self) -> None:
        """Leave the model as it was before `fit`."""
        self._warn_of_checkpoints()
        self.epochs_taken = 0
        for attribute in (_ATTRIBUTE, "set_weights"):
            vars(self._model).pop(attribute, None)
        if self._history is not None:
            vars(self._history).pop("on_train_end", None)

    def identities(self) -> list[str]:
        """Return how every callback was made, and how many layers draw at random."""
        layers = f"{len(self._random_states())} random layers"
        return [*(callback.identity() for callback in self.callbacks), layers]

    def _random_states(self) -> list[keras.Variable]:
        weights = {id(weight) for weight in self._model.weights}
        return [v for v in self._model.variables if id(v) not in weights]

    def _has_begun(self, which: Callable[[Iterable[bool]], bool] = any) -> bool:
        return which(callback.has_begun for callback in self.callbacks)

    def _warn_of_checkpoints(self) -> None:
        kept = self._kept()
        for checkpoint, best in self._checkpoints:
            if checkpoint.best != best and kept < (self._kept_at_start or 0):
                warnings.warn(
                    f"{checkpoint.filepath!r} holds a model from before the network "
                    "had its final masks: no epoch was left to choose among after the "
                    "pruning. Give `fit` more epochs than the pruning takes, or save "
                    "the model that it leaves.",
                    stacklevel=2,
                )

    def _is_over(self, history: Any) -> bool:
        return self._history is not history or self._has_begun()

    def _kept(self) -> int:
        return sum(kept_counts(constraints.get_masks(self._model)).values())

    def _set_weights(self, weights: Any) -> None:
        model = self._model
        before = model.get_weights()
        type(model).set_weights(model, weights)
        if self._kept() > (self._kept_at_end or 0):
            type(model).set_weights(model, before)
            warnings.warn(
                "A callback wanted to put back weights from before the network had its "
                "final masks; the weights of the last epoch stay. To choose among the "
                "epochs after pruning, give `EarlyStopping` a `start_from_epoch`.",
                stacklevel=2,
            )


class _SavedSchedule(keras.layers.Layer):
    """What Keras sees of a schedule when it saves and loads weights."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(name="initprune_schedule")
        self.schedule = schedule
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Write the state of all callbacks."""
        write_states(store, self.schedule.state(), self.schedule.identities())

    def load_own_variables(self, store: Any) -> None:
        """Hand the state of all callbacks back."""
        self.schedule.restore(store)


def _callbacks_of_fit() -> list[Any]:
    """Return all callbacks of the list that is being set up: Keras tells nobody."""
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), keras.callbacks.CallbackList):
            return frame.f_locals["self"].callbacks
        frame = frame.f_back
    return []


def write_states(store: Any, states: list[State], identities: list[str]) -> None:
    """Write states as flat arrays, with a header that names and checks them."""
    names: list[list[Any]] = []
    checksum = 0
    for index, state in enumerate(states):
        for name, value in state.items():
            nested = isinstance(value, Mapping)
            for path, array in value.items() if nested else [(None, value)]:
                key, data = f"array_{len(names)}", np.asarray(array)
                store[key] = data
                checksum = zlib.crc32(data.tobytes(), checksum)
                names.append([index, name, path])
    header = {"callbacks": identities, "names": names, "checksum": checksum}
    store[_HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)


def read_states(store: Mapping[str, np.ndarray]) -> tuple[list[State], list[str]]:
    """Return the states and identities that `write_states` wrote, or raise."""
    try:
        header = json.loads(np.asarray(store[_HEADER], np.uint8).tobytes())
        arrays = [np.asarray(store[f"array_{i}"]) for i in range(len(header["names"]))]
        checksum = 0
        for array in arrays:
            checksum = zlib.crc32(array.tobytes(), checksum)
        if checksum != header["checksum"]:
            raise ValueError("its checksum is wrong")
        states: list[State] = [{} for _ in header["callbacks"]]
        for (index, name, path), array in zip(header["names"], arrays, strict=True):
            if path is None:
                states[index][name] = array
            else:
                states[index].setdefault(name, {})[path] = array
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"The saved state of the pruning callbacks is damaged: {error!r}. Delete "
            "the file to begin anew."
        ) from error
    return states, header["callbacks"]
