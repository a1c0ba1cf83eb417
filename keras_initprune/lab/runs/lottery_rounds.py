"""The lottery ticket as one run of a comparison, which trains several times."""

from collections.abc import Callable
from typing import Any

import keras

from keras_initprune.arrays.distributions import Distribution
from keras_initprune.research.lottery import lottery_ticket


class LotteryRounds:
    """Trains a model round by round and leaves it as the trained ticket.

    Args:
        sparsity: Fraction of the weights to remove, in [0, 1).
        rounds: How often to prune; there is one training more.
        rewind_to: Step to rewind to.
        distribution: How weights compete.
    """

    def __init__(
        self, sparsity: float, rounds: int, rewind_to: int, distribution: Distribution
    ) -> None:
        self.sparsity = sparsity
        self.rounds = rounds
        self.rewind_to = rewind_to
        self.distribution = distribution

    def train(
        self,
        model: keras.Model,
        fit: Callable[[keras.Model, list[keras.callbacks.Callback]], Any],
    ) -> Any:
        """Run all rounds.

        Args:
            model: A compiled model.
            fit: Trains it once, with the callbacks that it is given.

        Returns:
            What `fit` returned in the last round.
        """
        tickets = lottery_ticket(
            model,
            fit,
            self.sparsity,
            self.rounds,
            self.rewind_to,
            distribution=self.distribution,
            verbose=0,
        )
        return tickets.rounds[-1].result
