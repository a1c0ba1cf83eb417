"""GraNet: gradual magnitude pruning in which some of what was removed grows again."""

from dataclasses import dataclass

import numpy as np

from keras_initprune import validation
from keras_initprune.arrays.curves import cosine_fraction
from keras_initprune.arrays.distributions import Distribution
from keras_initprune.arrays.drop_and_grow import drop_and_grow
from keras_initprune.callbacks.checks import Interval
from keras_initprune.callbacks.drop_and_grow import SeesGradients
from keras_initprune.callbacks.magnitude import Magnitude
from keras_initprune.callbacks.phases import Masks


@dataclass(eq=False, repr=False)
class GraNet(SeesGradients, Magnitude):
    """Removes the smallest weights gradually, and regrows where the gradient is large.

    A change at progress t, from 0 to 1, first keeps the largest weights, as
    `GradualMagnitude` does on the same cubic curve. Then each tensor of n kept weights
    drops the `int(share * n)` smallest and grows as many among the others, where the
    gradient |dL/dw| of the last step is largest, as `RigL` does; the share is
    `fraction / 2 * (1 + cos(pi * t))`, 0 at the end. What grows begins at zero, and so
    do its optimizer slots.

    Args:
        sparsity: Fraction of weights removed when the phase ends, in [0, 1).
        epochs: Length of the phase: a number of epochs, or a share of the epochs of
            `fit`, which is rounded down. Defaults to 0.5.
        interval: Steps between two changes, None for the ends of epochs, or `"auto"`:
            ten in every epoch. Defaults to `"auto"`; see `GradualMagnitude`.
        fraction: Share of the kept weights that would be replaced at progress 0, in
            (0, 1]. Defaults to 0.5.
        distribution: How weights compete: all with each other (`"global"`) or within
            the share of their tensor (`"erk"`, `"uniform"` or a dictionary from tensor
            path to sparsity). Defaults to `"erk"`.
        verbose: 0, or 1 for a line per epoch of the phase. Defaults to 0.
        layers: Which weights to prune, see `Layers`. Defaults to all.

    Raises:
        ValueError: If an argument is invalid, the model is sparser than asked for
            already, `interval` is a number and Keras does not know how many steps an
            epoch has, a tensor or every path through the network would vanish, or the
            model's optimizer was given no gradient.
        FloatingPointError: If the loss, a weight or a gradient becomes NaN or infinite
            during the phase.

    References:
        - Liu et al. 2021, "Sparse training via boosting pruning plasticity with
          neuroregeneration" (arXiv 2106.10404), algorithm 1

    Example:
        >>> GraNet(sparsity=0.95, epochs=4).fraction
        0.5
    """

    sparsity: float
    epochs: int | float = 0.5
    interval: Interval = "auto"
    fraction: float = 0.5
    distribution: Distribution = "erk"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fraction = validation.check_fraction(self.fraction)

    def select(self, progress: float) -> Masks | None:
        """Keep the largest weights, and replace the smallest of them."""
        growth = self.gradient_magnitudes() if progress < 1 else {}
        if growth is None:
            return None
        masks, weights = self.largest(progress), self.values()
        share = cosine_fraction(self.fraction, progress)
        counts = {path: int(share * np.count_nonzero(m)) for path, m in masks.items()}
        return masks | {
            path: drop_and_grow(weights[path], scores, masks[path], counts[path])
            for path, scores in growth.items()
        }
