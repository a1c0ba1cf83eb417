"""What a run adds to Keras' training: measures, and methods that are not callbacks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.arrays.distributions import Distribution
from keras_initprune.callbacks import Combination
from keras_initprune.gradients import GradientRecorder
from keras_initprune.pruning import prune
from keras_initprune.research.lottery import lottery_ticket


class Audit(keras.callbacks.Callback):
    """Counts the weights that are not zero and the seconds, epoch by epoch.

    It comes last in the list of callbacks, so that it sees what is evaluated.

    Attributes:
        nonzeros: Weights under masks that are not zero at the end of every epoch; 0 as
            long as there are no masks.
        seconds: Duration of every epoch, pruning included.

    Raises:
        RuntimeError: If a weight that a mask removes is not zero.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Count anew."""
        self.nonzeros: list[int] = []
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop the clock and count."""
        self.seconds.append(round(time.perf_counter() - self._started, 3))
        masks = constraints.get_masks(self.model)
        count = 0
        for path, weight in constraints.masked_weights(self.model).items():
            nonzero = weight.numpy() != 0
            if np.any(nonzero & ~masks[path]):
                raise RuntimeError(f"Pruned weights of {path!r} are not zero.")
            count += int(np.count_nonzero(nonzero))
        self.nonzeros.append(count)


class MaskFitness(keras.callbacks.Callback):
    """Notes the fitness of the mask that `KStarts` with k = 1 applies.

    It comes after `KStarts` in the list. Masks that were drawn for the same training
    compare by the sums over what they keep.

    Attributes:
        fitness: From name to the mask's fitness: `"magnitude"`, `"gradient"` and the
            distance moved, `"movement"`. Empty before the selection.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.fitness: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin to gather."""
        if epoch == 0:
            self._weights = constraints.masked_weights(self.model)
            self._initial = {p: w.numpy() for p, w in self._weights.items()}
            self._recorder = GradientRecorder(self.model, self._weights, gradients=True)
            self._recorder.start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add up what the mask keeps, which still has its trained values."""
        if epoch + 1 != self.epochs:
            return
        masks, totals = constraints.get_masks(self.model), self._recorder.totals()
        values = {path: weight.numpy() for path, weight in self._weights.items()}
        moved = {path: values[path] - self._initial[path] for path in values}
        for name, scores in (
            ("magnitude", values), ("gradient", totals), ("movement", moved)
        ):  # fmt: skip
            kept = [np.abs(scores[path][mask]).sum() for path, mask in masks.items()]
            self.fitness[name] = float(np.sum(kept))
        self._recorder.stop()
        self._weights, self._initial = {}, {}


class MagnitudeStarts(Combination):
    """The combination, with fresh starts by the sum of gradients' magnitudes."""

    def record_pull(self) -> GradientRecorder:
        """Return what sums |dL/dw|, in which noise does not cancel."""
        return GradientRecorder(self.model, self._weights, magnitudes=True)


@dataclass(eq=False, repr=False)
class InitialPruning(keras.callbacks.Callback):
    """Prunes the model with a criterion before its first step.

    Attributes:
        data: The training data `(x, y)`, to be set before training.
    """

    method: str
    sparsity: float
    distribution: str | None = None
    seed: int | None = None
    data: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def set_model(self, model: keras.Model) -> None:
        """Prune, before Keras compiles the training step."""
        super().set_model(model)
        what, how = (self.method, self.sparsity, self.data), self.distribution
        prune(model, *what, distribution=how, seed=self.seed)


@dataclass
class LotteryRounds:
    """Trains a model round by round and leaves it as the trained ticket."""

    sparsity: float
    rounds: int
    distribution: Distribution

    def train(
        self,
        model: keras.Model,
        fit: Callable[[keras.Model, list[keras.callbacks.Callback]], Any],
    ) -> Any:
        """Run all rounds.

        Returns:
            What `fit` returned in the last round.
        """
        what, how = (self.sparsity, self.rounds), self.distribution
        tickets = lottery_ticket(model, fit, *what, distribution=how, verbose=0)
        return tickets.rounds[-1].result
