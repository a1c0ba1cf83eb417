"""K-starts: the fittest of k random masks, found while the network trains."""

from collections.abc import Mapping

import numpy as np

from keras_initprune import validation
from keras_initprune.callbacks.base import (
    PruningCallback,
    check_epochs,
    check_finite,
    resolve_seed,
)
from keras_initprune.callbacks.schedule import State
from keras_initprune.criteria.fitness import FITNESS
from keras_initprune.distributions import Distribution, check_distribution
from keras_initprune.gradients import GradientRecorder
from keras_initprune.prunable import LayerSelector
from keras_initprune.selection import check_selection, k_starts_masks


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
            all steps), or `"combined"` (both, each over its mean in the tensor).
            Defaults to `"magnitude"`, which performs best.
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
        verbose: 0, or 1 for a line per epoch. Defaults to 0.
        layers: Which weights to prune, see `prunable_weights`. Defaults to all.
        skip_output: Whether to leave out the output layers. Defaults to False.
        embeddings: Whether to prune embedding tables too. Defaults to False.

    Raises:
        ValueError: If an argument is invalid, the model is sparse already, or no path
            through the network would remain.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            while fitness is gathered.

    References:
        - "What to prune and what not to prune at initialization" (arXiv 2209.02201)

    Example:
        >>> KStarts(k=16, sparsity=0.8, epochs=2, seed=0).selection
        'recombine'
    """

    _recorder: GradientRecorder
    _initial: Mapping[str, np.ndarray]

    def __init__(
        self,
        k: int = 16,
        sparsity: float = 0.9,
        epochs: int = 2,
        fitness: str = "magnitude",
        selection: str = "recombine",
        distribution: Distribution = "erk",
        rewind: bool = False,
        seed: int | None = None,
        verbose: int = 0,
        layers: LayerSelector = None,
        skip_output: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__(check_epochs(epochs), verbose, layers, skip_output, embeddings)
        self.k = validation.check_positive_integer(k, "k")
        self.sparsity = validation.check_sparsity(sparsity)
        self.fitness = validation.check_choice(fitness, "fitness", FITNESS)
        self.distribution = check_distribution(distribution, ranked=True)
        self.selection = check_selection(selection, self.distribution)
        self.rewind = bool(rewind)
        self.seed = validation.check_seed(seed)

    def begin_phase(self) -> None:
        """Start to gather fitness."""
        if self.epochs_before or self.kept() < self.size():
            raise ValueError(
                "`KStarts` chooses among masks of the whole network, so it must come "
                "first in the list of callbacks and start on a dense model. Received: "
                f"a model that is {self.sparsity_of_masks():.4f} sparse, and "
                f"{self.epochs_before} epochs of other pruning callbacks before it"
            )
        self._gather(resolve_seed(self.seed), self.values() if self.rewind else {})

    def phase_state(self) -> State:
        """Return the seed, the initial weights and the gathered gradients."""
        return {
            "seed": np.array(self._seed),
            "initial": self._initial,
            **self._recorder.state(),
        }

    def resume_phase(self, state: State) -> None:
        """Go on gathering fitness."""
        self._gather(int(state["seed"]), state.get("initial", {}))
        self._recorder.restore(state)

    def end_phase_epoch(self, phase_epoch: int) -> str:
        """Select once the last epoch of the phase has ended."""
        if phase_epoch < self.epochs:
            return f"gathers fitness ({phase_epoch} of {self.epochs} epochs)"
        masks = k_starts_masks(
            self._gathered_fitness(),
            self.k,
            self.sparsity,
            self.selection,
            self.distribution,
            self._seed,
            keys={path: weight.key for path, weight in self._weights.items()},
            unit_axes={p: weight.unit_axes for p, weight in self._weights.items()},
        )
        for path, value in self._initial.items():
            self._weights[path].variable.assign(value)
        return self.apply_masks(masks)

    def end_phase(self) -> None:
        """Free the gathered fitness and the initial weights."""
        self._recorder.stop()
        self._initial = {}

    def _gather(self, seed: int, initial: Mapping[str, np.ndarray]) -> None:
        self._seed = seed
        self._initial = initial
        self._recorder = GradientRecorder(
            self.model, self._weights, gradients=self.fitness != "magnitude"
        )
        self._recorder.start()

    def _gathered_fitness(self) -> dict:
        values = self.values()
        gradients = self._recorder.totals()
        check_finite(values, "weights")
        check_finite(gradients, "gradient")
        fitness = FITNESS[self.fitness]
        return {path: fitness(values[path], gradients[path]) for path in values}
