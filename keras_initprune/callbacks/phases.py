"""When pruning callbacks act: in a phase of epochs, at their ends or every few steps.

What they remove is up to the methods. From `fit` to a mask it is two files: the hooks
below, in the order in which Keras calls them, ask `select` of the method for masks.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from inspect import signature
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initprune import backend, constraints, validation
from keras_initprune.arrays import patterns
from keras_initprune.arrays.curves import CHANGES_PER_EPOCH
from keras_initprune.arrays.distributions import Distribution
from keras_initprune.arrays.masks import Mask, Masks, kept_count, kept_counts
from keras_initprune.callbacks.checks import (
    Interval,
    check_finite,
    check_interval,
    check_pattern,
    phase_length,
)
from keras_initprune.callbacks.saved_state import Clock, Schedule, State
from keras_initprune.constraints.layers import Layers, LayerSelector, check_none_dense
from keras_initprune.constraints.weights import PrunableWeight, prunable_weights
from keras_initprune.gradients import stop_all
from keras_initprune.graphs.units import unit_ties
from keras_initprune.paths.observation import check_masks


@dataclass(init=False, eq=False, repr=False, kw_only=True)
class _Shared:
    """The arguments that all pruning callbacks take, by keyword."""

    verbose: int = 0
    layers: LayerSelector = None


class PruningCallback(_Shared, keras.callbacks.Callback):
    """Base of the pruning callbacks: dataclasses whose fields are their arguments.

    A callback acts in a phase of `epochs` epochs. In one list phases follow each other
    in the order of the list, so that methods compose. Weights of frozen layers are left
    alone. A method overrides `select`, which returns new masks whenever a change is
    due; one that gathers something on the way also overrides `begin`, `gathered` and
    `end`. A change that is due depends on `interval`, see `DissipatingGradients`.

    Attributes:
        epochs: Length of the phase: epochs, or a share of those of `fit`. With 0 the
            callback acts before training.
        interval: Steps between two changes, None for the ends of epochs, or `"auto"`.
        sparsity: The sparsity of the method's masks, or None.
        pattern: None for any weights, or `"units"`.
        verbose: 0 is silent, 1 prints a line per epoch of the phase.
        layers: Which weights to prune, see `Layers`. None: those that carry a mask
            already, or all if none does.
        phase_epochs: Length of the phase in epochs, once training has begun.
        epochs_before: Epochs of this `fit` that earlier callbacks take.
        has_begun: Whether the first epoch has begun.
        start_sparsities: By tensor path, how sparse the phase has found the model.
    """

    # Keras' list of callbacks is sorted by it.
    changes_masks = True
    # Between two changes, where `interval` is "auto".
    _fewest_steps = 1

    params: dict[str, Any]
    epochs: Any = 0
    interval: Interval = None
    sparsity: Any = None
    pattern: Any = None

    def __post_init__(self) -> None:
        """Check the arguments that all callbacks share."""
        super().__init__()
        validation.check_verbose(self.verbose)
        check_none_dense(self.layers, type(self).__name__)
        self.interval = check_interval(self.interval)
        self.pattern = check_pattern(self.pattern)
        self.phase_epochs = 0
        self.epochs_before = 0
        self.has_begun = False
        self.start_sparsities: dict[str, float] = {}
        self._epochs_seen = 0
        self._phase_open = False
        self._last_step, self._changes, self._has_started = 0, 0, False
        self._weights: dict[str, PrunableWeight] = {}
        self._ties: dict[str, str] = {}

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this callback."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruningCallback":
        """Return the callback of which `get_config` returned the arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        """Return the call that makes this callback."""
        return validation.call_text(self, self.get_config())

    # What Keras calls, in its order.

    def set_model(self, model: keras.Model) -> None:
        """Install masks, before Keras compiles the training step."""
        super().set_model(model)
        if constraints.innermost_optimizer(model) is None:
            raise ValueError(
                f"The model {model.name!r} must be compiled before "
                f"{type(self).__name__} can prune it: call `model.compile`, also where "
                "you train in a loop of your own, and train with `model.optimizer`."
            )
        constraints.check_training_is_supported(model)
        # A `fit` that an exception ended may have left recorders behind.
        stop_all(model)
        self._schedule = Schedule.of(model)
        self._schedule.add(self)
        self.has_begun = False
        chooses = not Layers.of(self.layers).is_default
        if chooses or not constraints.masked_weights(model):
            chosen = self.layers
            if self.pattern == "units":
                chosen = list(unit_ties(model, prunable_weights(model, self.layers)))
            constraints.install_masks(model, chosen)

    def on_train_begin(self, logs: Any = None) -> None:
        """Take the next free epochs of this `fit`."""
        self.params = self.params or {}
        self._weights = self._pruned_weights()
        self.phase_epochs = self._length_of_phase()
        self.epochs_before = self._schedule.epochs_taken
        self._schedule.epochs_taken += self.phase_epochs
        self._epochs_seen = 0
        self._phase_open = True
        self._every = self._steps_between_changes()
        self._check_epochs(already_run=0)
        self._schedule.begin(self.params.get("steps"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin, or go on where a killed process stopped, before the first epoch."""
        # Not when training begins: other callbacks restore weights there.
        if not self.has_begun:
            state = self._schedule.state_for(self)
            if state is None:
                self._check_epochs(already_run=epoch)
                self.has_begun = True
                self._begin({})
            else:
                self._resume(state, epoch)
        is_first = not self.phase_epochs or self._epochs_seen == self.epochs_before
        if is_first and not self._has_started:
            self._start()
        self._next_epoch = epoch
        self._step = constraints.training_step(self.model)
        self._kept_before, self._is_checked = self.kept(), True
        self._schedule.epoch_begins()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Change the masks if a change is due after the steps that are done.

        Not at a batch's end: a callback with that hook has Keras wait for every step.
        """
        # Not `self.model`, which has JAX hand back what it trains: half a step's time.
        phase_epoch = self._epochs_seen - self.epochs_before
        if self._every is None or not 0 <= phase_epoch < self.phase_epochs:
            return
        step = phase_epoch * self.params["steps"] + batch
        if step >= self._next_step:
            backend.settle(self._model)
            masks = self.select(step / (self.phase_epochs * self.params["steps"]))
            if masks is not None:
                self._note_change(step)
            if masks:
                # Whether paths remain is checked once per epoch: it takes longer.
                constraints.change_masks(self._model, self._weights, masks)
                self._is_checked = False
        if step + self._model.steps_per_execution >= self._next_step:
            backend.settle(self._model)
            self.prepare()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Act if the epoch belongs to the phase."""
        self._end_epoch(epoch, logs)
        self._next_epoch = epoch + 1
        self._step = constraints.training_step(self.model)
        if self.model.stop_training or epoch + 1 == self.params.get("epochs"):
            self._schedule.guard_end()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the phase, with a warning if training ended within it."""
        if not self.is_over:
            self._phase_open = False
            self.end()
            last = self.epochs_before + self.phase_epochs
            warnings.warn(
                f"Training ended after epoch {self._epochs_seen}, before "
                f"{type(self).__name__} was done with its epochs "
                f"{self.epochs_before + 1} to {last}: the model's sparsity is "
                f"{self.sparsity_of_masks():.4f}.",
                stacklevel=2,
            )
        constraints.project(self.model)
        self._schedule.guard_end()

    # What methods override.

    def begin(self, state: State) -> None:
        """Act before the first epoch of training, also if the phase comes later.

        Args:
            state: What `gathered` returned in a process that was killed, or empty.
        """

    def start(self) -> Masks | None:
        """Return new masks to start with when the phase begins, or None."""
        if self.sparsity is not None:
            self._check_reachable(self.sparsity)
        return None

    def prepare(self) -> None:
        """Act before the step after which a change within an epoch is due."""

    def select(self, progress: float) -> Masks | None:
        """Return new masks, as a change is due.

        Args:
            progress: Share of the phase that is over, in (0, 1]. The end of the phase
                is always a moment for a change.

        Returns:
            From tensor path to mask; empty if none changes. None if there is nothing to
            choose by yet: within an epoch it is asked again before the next step.
        """
        raise NotImplementedError

    def describe(self, phase_epoch: int) -> str:
        """Return what epoch `phase_epoch` (from 1) of the phase did, for `verbose`."""
        return self._removed(self._kept_before)

    def gathered(self) -> State:
        """Return what `begin` needs to go on in another process."""
        return {}

    def end(self) -> None:
        """Free what only the phase needed."""

    # What methods ask for.

    def masks(self) -> Masks:
        """Return the current masks of the weights that this callback prunes."""
        return constraints.masks_of(self._weights)

    def values(self) -> dict[str, NDArray]:
        """Return the values of the weights that this callback prunes.

        Raises:
            FloatingPointError: If one is NaN or infinite.
        """
        values = {path: weight.numpy() for path, weight in self._weights.items()}
        return check_finite(values, "weights")

    def keys(self) -> dict[str, str]:
        """Return the names of the tensors for the random generator, by path."""
        return {path: weight.key for path, weight in self._weights.items()}

    def best_masks(
        self,
        scores: Mapping[str, NDArray],
        sparsity: float,
        distribution: Distribution,
        eligible: Mapping[str, Mask],
    ) -> Masks:
        """Return masks in the callback's pattern, as `arrays.ranking.rank_masks`."""
        tensors = self.tensors(scores, eligible)
        pattern = patterns.get(self.pattern)
        return patterns.pattern_masks(pattern, tensors, sparsity, distribution)

    def tensors(
        self, scores: Mapping[str, NDArray], eligible: Mapping[str, Mask]
    ) -> patterns.Tensors:
        """Return what patterns have to know of the weights of this callback."""
        return {
            path: patterns.Tensor(
                scores[path], eligible[path], weight.unit_axes, self._ties[path]
            )
            for path, weight in self._weights.items()
        }

    def kept(self) -> int:
        """Return how many weights the masks of this callback keep."""
        return sum(kept_counts(self.masks()).values())

    def sparsity_of_masks(self) -> float:
        """Return the fraction of weights that the masks of this callback remove."""
        return 1.0 - self.kept() / self._size()

    # What the schedule asks for.

    @property
    def is_over(self) -> bool:
        """Whether the callback will change no mask any more."""
        return not (self._phase_open and self.phase_epochs)

    def identity(self) -> str:
        """Return the call that makes this callback, but for what changes no mask.

        Nor for `select`: a function or a layer reads differently in another process.
        """
        layers = replace(Layers.of(self.layers), select=None)
        return validation.call_text(
            self, {**self.get_config(), "layers": layers, "verbose": 0}
        )

    def state(self) -> State:
        """Return what this callback needs to go on in another process.

        Returns:
            Arrays by name, and dictionaries of arrays by tensor path by name. Empty
            before the first epoch.
        """
        if not self.has_begun:
            return {}
        clock = Clock(self._next_epoch, self._step, self._epochs_seen, self._phase_open)
        state: State = {"clock": np.array(clock, np.int64)}
        if not self._phase_open:
            return state
        counts = (self._last_step, self._changes, self._has_started)
        starts = {path: np.array(s) for path, s in self.start_sparsities.items()}
        return {
            **state,
            "counts": np.array(counts, np.int64),
            "start_sparsities": starts,
            **self.gathered(),
        }

    def _begin(self, state: State) -> None:
        if isinstance(self.interval, int) and not self.params.get("steps"):
            raise ValueError(
                f"`interval` of {type(self).__name__} needs to know how many steps an "
                "epoch has, which this data does not tell: give `steps_per_epoch` to "
                f"`fit`. Received: interval={self.interval}"
            )
        counts = [int(number) for number in state.get("counts", (0, 0, False))]
        self._changes, self._has_started = counts[1], bool(counts[2])
        self._set_last_step(counts[0])
        starts = state.get("start_sparsities", {})
        self.start_sparsities = {path: s.item() for path, s in starts.items()}
        self.begin(state)

    def _start(self) -> None:
        self._has_started = True
        self.start_sparsities = {p: 1.0 - m.mean() for p, m in self.masks().items()}
        masks = self.start()
        if masks is not None:
            before = self.kept()
            self._apply(masks)
            if self.verbose:
                print(f"{type(self).__name__} {self._removed(before)}")

    def _end_epoch(self, epoch: int, logs: Mapping[str, Any] | None) -> None:
        self._epochs_seen += 1
        phase_epoch = self._epochs_seen - self.epochs_before
        if not 1 <= phase_epoch <= self.phase_epochs:
            return
        self._check_loss(logs)
        is_last = phase_epoch == self.phase_epochs
        is_due = not isinstance(self.interval, int)
        masks = None
        if is_due or is_last:
            masks = self.select(phase_epoch / self.phase_epochs)
        if is_due and masks is not None:
            self._note_change(phase_epoch * (self.params.get("steps") or 0))
        if masks:
            self._apply(masks)
        elif not self._is_checked:
            check_masks(self.model, self.masks())
        if self.verbose:
            message = self.describe(phase_epoch)
            print(f"\nEpoch {epoch + 1}: {type(self).__name__} {message}")
        if is_last:
            self._phase_open = False
            self.end()

    def _resume(self, state: State, epoch: int) -> None:
        clock = Clock(*state["clock"].tolist())
        self._epochs_seen, self._phase_open = clock.epochs_seen, bool(clock.phase_open)
        self.has_begun = True
        self._has_started = True
        if self._phase_open:
            self._begin(state)
        trained_on = constraints.training_step(self.model) != clock.step
        if epoch == clock.next_epoch + 1 and trained_on:
            # The weights were saved when the epoch had ended but for this callback.
            self._kept_before, self._is_checked = self.kept(), False
            self._end_epoch(clock.next_epoch, None)
        elif epoch != clock.next_epoch:
            raise ValueError(
                f"The restored weights are those of epoch {clock.next_epoch + 1}, but "
                f"training goes on in epoch {epoch + 1}. A backup holds both in two "
                "files, and these do not belong together: delete it to begin anew."
            )

    def _apply(self, masks: Masks) -> None:
        check_masks(self.model, {**self.masks(), **masks})
        constraints.change_masks(self.model, self._weights, masks)

    def _removed(self, before: int) -> str:
        after, size = self.kept(), self._size()
        return (
            f"removed {before - after:,} weights and kept {after:,} of {size:,} "
            f"(sparsity {1.0 - after / size:.4f})"
        )

    def _note_change(self, step: int) -> None:
        self._changes += 1
        self._set_last_step(step)

    def _set_last_step(self, step: int) -> None:
        self._last_step = step
        if self._every is not None:
            # Once per change: it is compared with in every step.
            self._next_step = math.ceil((step // self._every + 1) * self._every)

    def _steps_between_changes(self) -> Any:
        if self.interval != "auto":
            return self.interval
        steps = self.params.get("steps")
        if not steps:
            return None
        changes = max(1, min(CHANGES_PER_EPOCH, steps // self._fewest_steps))
        return Fraction(steps, changes)

    def _length_of_phase(self) -> int:
        if isinstance(self.epochs, float) and "epochs" not in self.params:
            raise ValueError(
                "`epochs` as a share needs to know how many epochs there are: give "
                "their number to the `CallbackList` of your own loop, or a number "
                f"to {type(self).__name__}. Received: epochs={self.epochs}"
            )
        return phase_length(self.epochs, self.params.get("epochs", 0))

    def _size(self) -> int:
        return sum(weight.size for weight in self._weights.values())

    def _pruned_weights(self) -> dict[str, PrunableWeight]:
        weights = constraints.masked_weights(self.model)
        if not Layers.of(self.layers).is_default:
            chosen = prunable_weights(self.model, self.layers)
            weights = {path: weights[path] for path in chosen}
        trained = {p: w for p, w in weights.items() if w.variable.trainable}
        self._ties = dict.fromkeys(trained, "")
        if trained and self.pattern == "units":
            self._ties = unit_ties(self.model, trained)
            trained = {path: trained[path] for path in self._ties}
        if not trained:
            raise ValueError(
                f"All weights of {self.model.name!r} that {type(self).__name__} could "
                "prune are frozen. Set `trainable = True` on some layer, or choose "
                "others with `layers`."
            )
        return trained

    def _check_reachable(self, sparsity: float) -> None:
        """Raise if the model is sparser than `sparsity`, but for rounding."""
        if self.kept() + len(self._weights) < kept_count(self._size(), sparsity):
            raise ValueError(
                "`sparsity` must not lie below that of the model when the phase of "
                f"{type(self).__name__} begins, which is "
                f"{self.sparsity_of_masks():.4f}. Received: sparsity={sparsity}"
            )

    def _check_epochs(self, already_run: int) -> None:
        available = self.params.get("epochs")
        needed = self.epochs_before + self.phase_epochs
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
