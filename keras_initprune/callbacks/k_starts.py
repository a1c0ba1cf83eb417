"""K-starts: the fittest of k random masks, found while the network trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initprune import validation
from keras_initprune.arrays.distributions import (
    GLOBAL,
    Distribution,
    check_distribution,
)
from keras_initprune.arrays.selection import (
    SelectionName,
    check_selection,
    k_starts_masks,
    k_starts_units,
)
from keras_initprune.callbacks.checks import check_scores, resolve_seed
from keras_initprune.callbacks.phases import Masks, PruningCallback
from keras_initprune.callbacks.saved_state import State
from keras_initprune.criteria.fitness import FITNESS, Fitness, FitnessName, magnitude
from keras_initprune.gradients import GradientRecorder


@dataclass(eq=False, repr=False)
class KStarts(PruningCallback):
    """Draws k random masks, lets the network train, and keeps the fittest.

    The network trains densely for `epochs` epochs while the fitness of every weight is
    gathered. A mask's fitness is the sum over the weights that it keeps; when the last
    of these epochs ends, the winner is applied and training goes on with it. Survivors
    keep their trained values.

    Args:
        k: Number of random masks per tensor. Defaults to 16.
        sparsity: Fraction of weights to remove, in [0, 1). Defaults to 0.9.
        epochs: Epochs in which fitness is gathered. Defaults to 2.
        fitness: `"magnitude"` (|w| at the end), `"gradient"` (the sum of |dL/dw| over
            all steps), `"combined"` (both, each over its mean in the tensor), or a
            function as those in `criteria.fitness`. Defaults to `"magnitude"`, which
            performs best.
        selection: What competes: `"network"` (k whole networks), `"layer"` (k masks per
            tensor), `"unit"` (k masks per output unit, with equal fan-in), or
            `"recombine"` (the fittest weights out of the union of the k masks). The
            coarser, the less k random masks differ. Defaults to `"recombine"`, which
            performs best.
        distribution: How many weights every tensor keeps: `"erk"`, `"uniform"`, a
            dictionary from tensor path to sparsity, or, with `"recombine"` only,
            `"global"`. Defaults to `"erk"`.
        rewind: Whether survivors go back to their initial values. Defaults to False.
        seed: Seed of the masks. Defaults to None: drawn from Python's generator, which
            `keras.utils.set_random_seed` seeds.
        pattern: `"units"` to remove whole units and filters, which `compact` then takes
            out; the output layer and biases stay, see `graphs.units.unit_ties`. The
            sparsity is that of the other layers, as close as units allow. Defaults to
            None: any weights.
        verbose: 0, or 1 for a line per epoch. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparse already, no path
            through the network would remain, or gradients are needed and the model's
            optimizer was given none.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            while fitness is gathered.

    References:
        - "What to prune and what not to prune at initialization" (arXiv 2209.02201)

    Example:
        >>> KStarts(k=16, sparsity=0.8, epochs=2, seed=0).selection
        'recombine'
    """

    k: int = 16
    sparsity: float = 0.9
    epochs: int = 2
    fitness: FitnessName | str | Fitness = "magnitude"
    selection: SelectionName | str = "recombine"
    distribution: Distribution = "erk"
    rewind: bool = False
    seed: int | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.k = _check_k(self.k)
        self.sparsity = validation.check_sparsity(self.sparsity)
        self.epochs = validation.check_positive_integer(self.epochs, "epochs")
        self._fitness = validation.check_function(self.fitness, "fitness", FITNESS)
        self.distribution = check_distribution(self.distribution, ranked=True)
        self.selection = check_selection(self.selection, self.distribution)
        if self.pattern is not None:
            self._check_units()
        self.rewind = validation.check_boolean(self.rewind, "rewind")
        self.seed = validation.check_seed(self.seed)

    def begin(self, state: State) -> None:
        """Start to gather fitness, on a dense model."""
        if not state:
            self._check_first()
            initial = self.values() if self.rewind else {}
            state = {"seed": resolve_seed(self.seed), "initial": initial}
        self._seed = int(state["seed"])
        self._initial: Mapping[str, np.ndarray] = state.get("initial", {})
        self._recorder = GradientRecorder(
            self.model, self._weights, self._fitness is not magnitude
        )
        self._recorder.start(state)

    def select(self, progress: float) -> Masks | None:
        """Select once the last epoch of the phase has ended."""
        if progress < 1:
            return None
        fitness, keys = self._gathered_fitness(), self.keys()
        how = (self.k, self.sparsity, self.selection, self.distribution, self._seed)
        if self.pattern is None:
            axes = {path: weight.unit_axes for path, weight in self._weights.items()}
            masks = k_starts_masks(fitness, *how, keys=keys, unit_axes=axes)
        else:
            tensors = self.tensors(fitness, self.masks())
            masks = k_starts_units(tensors, *how, keys=keys)
        for path, value in self._initial.items():
            self._weights[path].variable.assign(value)
        return masks

    def describe(self, phase_epoch: int) -> str:
        """Return how far fitness is gathered, or what was removed."""
        if phase_epoch < self.epochs:
            return f"gathers fitness ({phase_epoch} of {self.epochs} epochs)"
        return super().describe(phase_epoch)

    def gathered(self) -> State:
        """Return the seed, the initial weights and the gathered gradients."""
        state = {"seed": np.array(self._seed), "initial": self._initial}
        return {**state, **self._recorder.state()}

    def end(self) -> None:
        """Free the gathered fitness and the initial weights."""
        self._recorder.stop()
        self._initial = {}

    def _gathered_fitness(self) -> dict[str, NDArray]:
        values, gradients = self.values(), self._recorder.totals()
        fitness = {
            path: self._fitness(w, gradients[path]) for path, w in values.items()
        }
        return check_scores(fitness, self.masks(), "fitness")

    def _check_units(self) -> None:
        if self.selection == "unit" or self.distribution == GLOBAL:
            raise ValueError(
                "`pattern='units'` removes whole units, each by itself and within the "
                "share of its tensor: choose another `selection` than 'unit', and "
                "'erk', 'uniform' or a dictionary as `distribution`. Received: "
                f"selection={self.selection!r}, distribution={self.distribution!r}"
            )

    def _check_first(self) -> None:
        sparsity = self.sparsity_of_masks()
        if self.epochs_before or sparsity > 0:
            raise ValueError(
                "`KStarts` chooses among masks of the whole network, so it must come "
                "first in the list of callbacks and start on a dense model. Received: "
                f"a model that is {sparsity:.4f} sparse, and {self.epochs_before} "
                "epochs of other pruning callbacks before it"
            )


def _check_k(k: Any) -> int:
    # The other callbacks' first argument is `sparsity`.
    if isinstance(k, float | np.floating) and 0 < k < 1:
        raise ValueError(
            "`k` must be an integer of at least 1, the number of random masks; a "
            f"sparsity is given by name: KStarts(sparsity={k}). Received: k={k!r}"
        )
    return validation.check_positive_integer(k, "k")
