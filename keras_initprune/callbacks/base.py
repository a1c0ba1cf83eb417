"""What all pruning callbacks share: masks, phases of epochs, and logs."""

import random
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints, gradients, paths, validation
from keras_initprune.callbacks.schedule import Clock, Schedule, State
from keras_initprune.distributions import check_no_empty_tensor
from keras_initprune.liveness import UnknownInputsError
from keras_initprune.masks import Mask
from keras_initprune.prunable import (
    LayerSelector,
    PrunableWeight,
    prunable_weights,
)


class PruningCallback(keras.callbacks.Callback):
    """Base of the pruning callbacks.

    A callback acts in a phase of `epochs` epochs. In one list phases follow each other
    in the order of the list, so that methods compose. Weights of frozen layers are left
    alone. Subclasses override `begin_phase`, `end_phase_epoch` or `end_phase`, and
    `phase_state` and `resume_phase` for what they need to go on after a killed process.

    Args:
        epochs: Length of the phase in epochs. With 0 the callback acts before training.
        verbose: 0 is silent, 1 prints a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `prunable_weights`. Defaults to those that
            carry a mask already, or all if none does.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.
    """

    def __init__(
        self,
        epochs: int,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__()
        if verbose not in (0, 1):
            raise ValueError(f"`verbose` must be 0 or 1. Received: verbose={verbose!r}")
        self.epochs = epochs
        self.layers = layers
        self.skip_output = skip_output
        self.embeddings = embeddings
        self.verbose = verbose
        self.epochs_before = 0
        self.has_begun = False
        self._epochs_seen = 0
        self._phase_open = False
        self._weights: dict[str, PrunableWeight] = {}

    def set_model(self, model: keras.Model) -> None:
        """Install masks, before Keras compiles the training step."""
        super().set_model(model)
        constraints.check_training_is_supported(model)
        # A `fit` that an exception ended may have left recorders behind.
        gradients.stop_all(model)
        self._schedule = Schedule.of(model)
        self._schedule.add(self)
        self.has_begun = False
        chooses = self.layers is not None or self.skip_output or self.embeddings
        if chooses or not constraints.masked_weights(model):
            constraints.install_masks(
                model, self.layers, self.skip_output, self.embeddings
            )

    def on_train_begin(self, logs: Any = None) -> None:
        """Take the next free epochs of this `fit`."""
        self._weights = self._pruned_weights()
        self.epochs_before = self._schedule.epochs_taken
        self._schedule.epochs_taken += self.epochs
        self._epochs_seen = 0
        self._phase_open = True
        self._check_epochs(self.params.get("epochs"), already_run=0)
        self._schedule.begin(self.params.get("steps"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin, or go on where a killed process stopped, before the first epoch."""
        # Not when training begins: other callbacks restore weights there.
        if not self.has_begun:
            state = self._schedule.state_for(self)
            if state is None:
                self._check_epochs(self.params.get("epochs"), already_run=epoch)
                self.has_begun = True
                self.begin_phase()
            else:
                self._resume(state, epoch)
        self._next_epoch = epoch
        self._step = constraints.training_step(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Act if the epoch belongs to the phase, and log the sparsity."""
        self._end_epoch(epoch, logs)
        self._next_epoch = epoch + 1
        self._step = constraints.training_step(self.model)
        if logs is not None:
            logs["sparsity"] = self.sparsity_of_masks()
        if self.model.stop_training or epoch + 1 == self.params.get("epochs"):
            self._schedule.guard_end()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the phase, with a warning if training ended within it."""
        if self._phase_open and self.epochs:
            self._phase_open = False
            self.end_phase()
            last = self.epochs_before + self.epochs
            warnings.warn(
                f"Training ended after epoch {self._epochs_seen}, before "
                f"{type(self).__name__} was done with its epochs "
                f"{self.epochs_before + 1} to {last}: the model's sparsity is "
                f"{self.sparsity_of_masks():.4f}.",
                stacklevel=2,
            )
        constraints.project(self.model)
        self._schedule.guard_end()

    def state(self) -> State:
        """Return what this callback needs to go on in another process.

        Returns:
            Arrays by name, and dictionaries of arrays by tensor path by name. Empty
            before the first epoch.
        """
        if not self.has_begun:
            return {}
        clock = Clock(self._next_epoch, self._step, self._epochs_seen, self._phase_open)
        phase = self.phase_state() if self._phase_open else {}
        return {"clock": clock.to_array(), **phase}

    def phase_state(self) -> State:
        """Return what the running phase has gathered; see `state`."""
        return {}

    def resume_phase(self, state: State) -> None:
        """Go on within a phase, from what `phase_state` returned."""

    def begin_phase(self) -> None:
        """Act before the first epoch of training."""

    def end_phase_epoch(self, phase_epoch: int) -> str:
        """Act at the end of epoch `phase_epoch` (from 1) of the phase.

        Returns:
            What was done, for the line that `verbose=1` prints.
        """
        raise NotImplementedError

    def end_phase(self) -> None:
        """Free what only the phase needed."""

    def masks(self) -> dict[str, Mask]:
        """Return the current masks of the weights that this callback prunes."""
        masks = constraints.get_masks(self.model)
        return {path: masks[path] for path in self._weights}

    def values(self) -> dict[str, np.ndarray]:
        """Return the current values of the weights that this callback prunes."""
        return {path: weight.numpy() for path, weight in self._weights.items()}

    def apply_masks(self, masks: Mapping[str, Mask]) -> str:
        """Set masks once it is sure that something still passes the network.

        Returns:
            What was removed, in words.

        Raises:
            ValueError: If a tensor keeps nothing, or no path from the model's inputs to
                its outputs remains.
        """
        kept = {path: int(np.count_nonzero(mask)) for path, mask in masks.items()}
        check_no_empty_tensor(kept, {path: mask.size for path, mask in masks.items()})
        before = self.kept()
        if self._cuts_every_path(masks):
            raise ValueError(
                f"{type(self).__name__} would leave no path from the inputs of "
                f"{self.model.name!r} to its outputs. Choose a lower sparsity, another "
                "distribution, or leave narrow layers out with `layers`."
            )
        constraints.set_masks(self.model, masks)
        after, size = sum(kept.values()), self.size()
        return (
            f"removed {before - after:,} weights and kept {after:,} of {size:,} "
            f"(sparsity {1.0 - after / size:.4f})"
        )

    def _cuts_every_path(self, masks: Mapping[str, Mask]) -> bool:
        masks = {**constraints.get_masks(self.model), **masks}
        try:
            return not paths.has_live_path(self.model, masks)
        except UnknownInputsError as error:
            warnings.warn(
                f"Whether a path through the network remains is not checked: {error}",
                stacklevel=2,
            )
            return False

    def kept(self) -> int:
        """Return how many weights the masks of this callback keep."""
        return sum(int(np.count_nonzero(mask)) for mask in self.masks().values())

    def size(self) -> int:
        """Return how many weights this callback prunes among."""
        return sum(weight.size for weight in self._weights.values())

    def sparsity_of_masks(self) -> float:
        """Return the fraction of weights that the masks of this callback remove."""
        return 1.0 - self.kept() / self.size()

    def _end_epoch(self, epoch: int, logs: Mapping[str, Any] | None) -> None:
        self._epochs_seen += 1
        phase_epoch = self._epochs_seen - self.epochs_before
        if not 1 <= phase_epoch <= self.epochs:
            return
        self._check_loss(logs)
        message = self.end_phase_epoch(phase_epoch)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: {type(self).__name__} {message}")
        if phase_epoch == self.epochs:
            self._phase_open = False
            self.end_phase()

    def _resume(self, state: State, epoch: int) -> None:
        clock = Clock.from_array(state["clock"])
        self._epochs_seen, self._phase_open = clock.epochs_seen, clock.phase_open
        self.has_begun = True
        if self._phase_open:
            self.resume_phase(state)
        trained_on = constraints.training_step(self.model) != clock.step
        if epoch == clock.next_epoch + 1 and trained_on:
            # The weights were saved when the epoch had ended but for this callback.
            self._end_epoch(clock.next_epoch, None)
        elif epoch != clock.next_epoch:
            raise ValueError(
                f"The restored weights are those of epoch {clock.next_epoch + 1}, but "
                f"training goes on in epoch {epoch + 1}. A backup holds both in two "
                "files, and these do not belong together: delete it to begin anew, and "
                "put `BackupAndRestore` before the pruning callbacks."
            )

    def _pruned_weights(self) -> dict[str, PrunableWeight]:
        weights = constraints.masked_weights(self.model)
        if self.layers is not None or self.skip_output:
            chosen = prunable_weights(
                self.model, self.layers, self.skip_output, self.embeddings
            )
            weights = {path: weights[path] for path in chosen}
        trained = {p: w for p, w in weights.items() if w.variable.trainable}
        if not trained:
            raise ValueError(
                f"All weights of {self.model.name!r} that {type(self).__name__} could "
                "prune are frozen. Set `trainable = True` on some layer, or choose "
                "others with `layers`."
            )
        return trained

    def _check_epochs(self, available: int | None, already_run: int) -> None:
        needed = self.epochs_before + self.epochs
        if available is not None and needed > available - already_run:
            raise ValueError(
                f"`epochs` of {type(self).__name__} must lie within what `fit` runs: "
                f"it ends after epoch {needed} of this call, which has "
                f"{available - already_run}. Received: epochs={self.epochs}"
            )

    def _check_loss(self, logs: Mapping[str, Any] | None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            raise FloatingPointError(
                f"The training loss became {loss} while {type(self).__name__} was "
                "gathering what it prunes by, which would make the choice arbitrary. "
                "Lower the learning rate or check the data."
            )


def check_finite(values: Mapping[str, np.ndarray], what: str) -> None:
    """Raise if an array holds NaN or infinity.

    Raises:
        FloatingPointError: Names the tensor.
    """
    for path, array in values.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(
                f"The {what} of {path!r} became NaN or infinite in the epochs in "
                "which pruning gathers its scores. Lower the learning rate or check "
                "the data."
            )


def resolve_seed(seed: int | None) -> int:
    """Return `seed`, or one drawn as `keras.utils.set_random_seed` determines."""
    return random.randint(0, 2**31 - 1) if seed is None else seed


def check_epochs(epochs: Any) -> int:
    """Return `epochs` as an int, or raise unless it is at least 1."""
    return validation.check_positive_integer(epochs, "epochs")
