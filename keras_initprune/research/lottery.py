"""The lottery ticket: iterative magnitude pruning with rewinding, round by round."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from keras_initprune import constraints, validation
from keras_initprune.arrays.curves import geometric_sparsity
from keras_initprune.arrays.distributions import Distribution, check_distribution
from keras_initprune.arrays.masks import Mask
from keras_initprune.arrays.ranking import gradual_masks
from keras_initprune.constraints.layers import Layers, LayerSelector, check_none_dense
from keras_initprune.constraints.weights import PrunableWeight, prunable_weights
from keras_initprune.paths.observation import check_masks
from keras_initprune.research.snapshots import Snapshot, StopAt, Storage, TakeSnapshot

Fit = Callable[[keras.Model, list[keras.callbacks.Callback]], Any]


@dataclass(frozen=True, eq=False)
class Round:
    """One round: a training with the masks that the rounds before have found.

    Attributes:
        index: 0 for the dense network that the first masks come from.
        sparsity: Fraction of the prunable weights that the masks remove.
        masks: From tensor path to a boolean array, 1 = keep.
        result: What `fit` returned. From a folder: the history, or what plain values
            it was made of.
        seconds: Length of the training in seconds.
    """

    index: int
    sparsity: float
    masks: dict[str, Mask]
    result: Any
    seconds: float


@dataclass(frozen=True, eq=False)
class LotteryTickets:
    """All rounds of a lottery, each of which is a ticket.

    Attributes:
        rounds: The rounds, from the dense network on.
        rewound: The state that all tickets start from.
        trained: The weights that each round trained to, in the order of the rounds.
    """

    rounds: tuple[Round, ...]
    rewound: Snapshot
    trained: Sequence[Snapshot]

    def restore(
        self, model: keras.Model, index: int = -1, trained: bool = False
    ) -> keras.Model:
        """Make a model the ticket of a round, in place.

        Args:
            model: The model of the lottery, or another one built and compiled alike.
            index: The round. Defaults to the last.
            trained: Whether to give it the weights at the end of the round's training.
                Defaults to False: those that the round began with.

        Returns:
            The same model.

        Raises:
            ValueError: If the model is another one.
        """
        masks = list(self.rounds[index].masks)
        constraints.install_masks(model, Layers(masks, embeddings=True))
        constraints.set_masks(model, self.rounds[index].masks)
        (self.trained[index] if trained else self.rewound).restore(model)
        return model


def lottery_ticket(
    model: keras.Model,
    fit: Fit,
    sparsity: float,
    rounds: int | None = None,
    rewind_to: int = 0,
    rewind_unit: Literal["step", "epoch"] = "step",
    distribution: Distribution = "global",
    layers: LayerSelector = None,
    folder: str | Path | None = None,
    verbose: int = 1,
) -> LotteryTickets:
    """Find a sparse network that trains well from its own initial weights.

    Iterative magnitude pruning: train the network, remove the smallest weights, put the
    survivors back to where they were at step `rewind_to`, and again. After round r of
    R the density is `(1 - sparsity) ** (r / R)`. The rounds are R + 1 trainings: the
    first is dense, the last that of the ticket, with whose weights the model ends.

    Rewinding brings back all weights, the statistics of normalisation and the
    optimizer, with the count of steps that learning-rate schedules depend on. From a
    later step on a round trains for what is left of the first training's steps.

    Args:
        model: A built and compiled model.
        fit: Function that takes the model and a list of callbacks, trains the model
            from the weights that it has, and hands the callbacks on to `model.fit`. It
            must not compile. What it returns is kept as the round's `result`.
        sparsity: Fraction of weights that the last round removes, in [0, 1).
        rounds: How often to prune. Defaults to None: as often as it takes if every
            round removes a fifth of what is left.
        rewind_to: Where the survivors go back to, in steps or epochs of the first
            training. Defaults to 0, the initial weights; deep networks need some 1 % of
            the training.
        rewind_unit: `"step"` or `"epoch"`. Defaults to `"step"`.
        distribution: How weights compete: all with each other (`"global"`) or within
            the share of their tensor (`"erk"`, `"uniform"` or a dictionary from tensor
            path to sparsity). Defaults to `"global"`.
        layers: Which weights to prune, see `Layers`. Defaults to all.
        folder: Where to keep every finished round. The same call goes on from there
            after a killed process. Defaults to None: nowhere.
        verbose: 0, or 1 for a line per round. Defaults to 1.

    Returns:
        `LotteryTickets`: the masks and the trained weights of every round.

    Raises:
        ValueError: If an argument is invalid, the model is not compiled or sparse
            already, `fit` ends before the step to rewind to, a tensor or every
            path through the network would vanish, or `folder` holds another lottery.
        FloatingPointError: If weights become NaN or infinite.

    References:
        - Frankle and Carbin 2019, "The lottery ticket hypothesis: finding sparse,
          trainable neural networks" (arXiv 1803.03635)
        - Frankle et al. 2020, "Linear mode connectivity and the lottery ticket
          hypothesis" (arXiv 1912.05671), algorithm 2, for rewinding to a later step

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model.compile("adam", "mse")
        >>> x = np.random.default_rng(0).random((32, 8))
        >>> def fit(model, callbacks):
        ...     model.fit(x, x[:, :4], verbose=0, callbacks=callbacks)
        >>> tickets = lottery_ticket(model, fit, sparsity=0.75, rounds=2, verbose=0)
        >>> [ticket.sparsity for ticket in tickets.rounds]
        [0.0, 0.5, 0.75]
    """
    sparsity = validation.check_sparsity(sparsity)
    if rounds is None:
        rounds = max(1, math.ceil(math.log(1.0 - sparsity) / math.log(0.8)))
    validation.check_positive_integer(rounds, "rounds")
    validation.check_natural_number(rewind_to, "rewind_to")
    validation.check_choice(rewind_unit, "rewind_unit", ("step", "epoch"))
    distribution = check_distribution(distribution, ranked=True)
    validation.check_verbose(verbose)
    is_function = callable(fit) and not isinstance(fit, type | keras.Layer)
    rule = "a function that takes a model and a list of callbacks"
    validation.require(is_function, fit, "fit", rule)
    is_folder = folder is None or (isinstance(folder, str | Path) and folder != "")
    rule = "None, a string or a `pathlib.Path`"
    validation.require(is_folder, folder, "folder", rule)
    weights = _prepare(model, layers)
    size = sum(weight.size for weight in weights.values())
    if rounds > size:
        raise ValueError(
            f"`rounds` must not exceed the {size} weights, one of which a round has to "
            f"remove at least. Received: rounds={rounds}"
        )
    lottery = _Lottery(model, fit, weights, sparsity, rounds, distribution, verbose)
    if folder is not None:
        lottery.storage = Storage(folder, lottery.settings(rewind_to, rewind_unit))
    return lottery.run(rewind_to, rewind_unit)


def _prepare(model: keras.Model, layers: LayerSelector) -> dict[str, PrunableWeight]:
    check_none_dense(layers, "lottery_ticket")
    weights = prunable_weights(model, layers)
    weights = {p: weight for p, weight in weights.items() if weight.variable.trainable}
    if not weights:
        raise ValueError("All weights that `layers` chooses are frozen.")
    if getattr(model, "optimizer", None) is None:
        raise ValueError("`model` must be compiled before the first round.")
    constraints.install_masks(model, Layers(list(weights), embeddings=True))
    masks = constraints.get_masks(model)
    if not all(masks[path].all() for path in weights):
        raise ValueError(
            f"`model` must be dense: the first round trains all weights. Received: "
            f"{model.name!r}, which has masks that remove some"
        )
    return weights


@dataclass(eq=False)
class _Lottery:
    """The rounds, and what they share."""

    model: keras.Model
    fit: Fit
    weights: dict[str, PrunableWeight]
    sparsity: float
    count: int
    distribution: Distribution
    verbose: int
    storage: Storage | None = None
    rounds: list[Round] = field(default_factory=list)
    trained: list[Snapshot] = field(default_factory=list)
    last_step: int = 0

    def settings(self, rewind_to: int, rewind_unit: str) -> dict[str, Any]:
        """Return what decides the rounds, of plain values."""
        return {
            "sparsity": self.sparsity,
            "rounds": self.count,
            "rewind_to": rewind_to,
            "rewind_unit": rewind_unit if rewind_to else "step",
            "distribution": self.distribution,
            "weights": {path: list(w.shape) for path, w in self.weights.items()},
        }

    def run(self, rewind_to: int, rewind_unit: str) -> LotteryTickets:
        """Run what is not finished yet."""
        rewound = self._load()
        if rewound is None:
            taking = TakeSnapshot(rewind_to, rewind_unit)
            outcome = self._train([taking])
            rewound = _snapshot_of(taking)
            if self.storage is not None:
                self.storage.write_rewind(rewound)
            self.last_step = (taking.first_step or 0) + taking.last_step
            self._finish(*outcome)
        while len(self.rounds) <= self.count:
            masks = self._next_masks()
            constraints.set_masks(self.model, masks)
            rewound.restore(self.model)
            stop = [StopAt(self.last_step)] if rewind_to else []
            self._finish(*self._train(stop))
        return LotteryTickets(tuple(self.rounds), rewound, self.trained)

    def _load(self) -> Snapshot | None:
        if self.storage is None or not self.storage.rounds():
            return None
        for index in range(min(self.storage.rounds(), self.count + 1)):
            masks, info = self.storage.read_round(index)
            self.last_step = info.pop("last_step")
            self.rounds.append(Round(index=index, masks=masks, **info))
            self.trained.append(self.storage.read_trained(index))
        constraints.set_masks(self.model, self.rounds[-1].masks)
        self.trained[-1].restore(self.model)
        self._print(
            f"{len(self.rounds)} of {self.count + 1} rounds were finished before."
        )
        return self.storage.read_rewind()

    def _train(self, callbacks: list[keras.callbacks.Callback]) -> tuple[Any, float]:
        started = time.perf_counter()
        result = self.fit(self.model, callbacks)
        return result, time.perf_counter() - started

    def _finish(self, result: Any, seconds: float) -> None:
        masks = constraints.get_masks(self.model)
        masks = {path: masks[path] for path in self.weights}
        kept = sum(int(np.count_nonzero(mask)) for mask in masks.values())
        size = sum(mask.size for mask in masks.values())
        done = Round(len(self.rounds), 1.0 - kept / size, masks, result, seconds)
        trained = Snapshot.of(self.model, optimizer=False)
        if self.storage is not None:
            info = {
                "sparsity": done.sparsity,
                "result": result,
                "seconds": seconds,
                "last_step": self.last_step,
            }
            self.storage.write_round(done.index, masks, trained, info)
        self.rounds.append(done)
        self.trained.append(trained)
        left = (self.count - done.index) * seconds
        self._print(
            f"Round {done.index} of {self.count}: kept {kept:,} of {size:,} weights "
            f"(sparsity {done.sparsity:.4f}), trained in {seconds:.1f} s; about "
            f"{left:.0f} s left"
        )

    def _next_masks(self) -> dict[str, Mask]:
        scores = {path: abs(weight.numpy()) for path, weight in self.weights.items()}
        for path, score in scores.items():
            if not np.isfinite(score).all():
                raise FloatingPointError(
                    f"The weights of {path!r} became NaN or infinite in round "
                    f"{len(self.rounds) - 1}. Lower the learning rate or check the "
                    "data."
                )
        masks = gradual_masks(
            scores,
            self.rounds[-1].masks,
            dict.fromkeys(scores, 0.0),
            self.sparsity,
            len(self.rounds) / self.count,
            geometric_sparsity,
            self.distribution,
        )
        check_masks(self.model, masks)
        return masks

    def _print(self, line: str) -> None:
        if self.verbose:
            print(line, flush=True)


def _snapshot_of(taking: TakeSnapshot) -> Snapshot:
    if taking.first_step is None:
        raise ValueError(
            "`fit` must hand its second argument, a list of callbacks, on to "
            "`model.fit`. Received: a function that did not"
        )
    if taking.snapshot is None:
        raise ValueError(
            "`rewind_to` must lie within the first training, which has "
            f"{taking.last_step} steps. Received: rewind_to={taking.at} "
            f"({taking.unit}s)"
        )
    return taking.snapshot
