"""How much the loss would feel a removal (SNIP, FORCE), or its gradient (GraSP)."""

import sys
from numbers import Real

import numpy as np

from keras_initprune import validation
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


class SNIP(Criterion):
    """Scores a weight by how much the loss would feel its removal, to first order.

    With a factor m per weight, of which the mask is made, `s = |dL(m * w) / dm|` at
    m = 1, which is `|w * dL/dw|`. The paper divides by the sum over the network, which
    changes no rank. A weight that is masked already has the score 0.

    Args:
        training: Whether batch normalisation takes the statistics of each batch and
            dropout is on, as while training. With False the moving statistics count.
            Programs differ: most score as in training, Synaptic-Flow's do not.
            Defaults to True.

    References:
        - Lee et al. 2019, "SNIP: single-shot network pruning based on connection
          sensitivity" (arXiv 1810.02340)

    Example:
        >>> import keras
        >>> from keras_initprune import score_weights
        >>> unit = keras.layers.Dense(1, use_bias=False)
        >>> model = keras.Sequential([keras.Input((2,)), unit])
        >>> model.set_weights([np.array([[3.0], [1.0]])])
        >>> model.compile("sgd", "mse", run_eagerly=True)
        >>> data = np.array([[1.0, 2.0]]), np.array([[4.0]])  # L = 1, dL/dw = (2, 4)
        >>> [score.tolist() for score in score_weights(model, SNIP, data).values()]
        [[[6.0], [4.0]]]
    """

    needs_data = True

    def __init__(self, training: bool = True) -> None:
        self.training = validation.check_boolean(training, "training")

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w * dL/dw|`, the gradient at the masked network."""
        masked = problem.masked(masks)
        objective = problem.objective(training=self.training)
        gradients = objective.gradients(masked, problem.batches)
        # What may come back is scored by the value that it would have.
        weights = problem.initial if self.resurrects else masked
        return {path: np.abs(weights[path] * gradients[path]) for path in gradients}


class IterativeSNIP(SNIP):
    """Scores as SNIP does, on the network that earlier iterations have left.

    After iteration t of T a share `density ** (t / T)` of the weights is kept, so no
    iteration removes much, and the gradients are those of a network close to the one
    that is left. What is removed stays removed: the difference from FORCE.

    Args:
        training: As in `SNIP`. Defaults to True.

    References:
        - de Jorge et al. 2021, "Progressive skeletonization: trimming more fat from a
          network at initialization" (arXiv 2006.09081)
        - Verdenius et al. 2020, "Pruning via iterative ranking of sensitivity
          statistics" (arXiv 2006.00896)

    Example:
        >>> IterativeSNIP().iterations, IterativeSNIP().resurrects
        (60, False)
    """

    iterations = 60


class FORCE(SNIP):
    """Scores a weight by how much it would matter in the network that is left.

    `s = |w * dL/dw|`, w being the initial weight and the gradient that of the masked
    network `m * w`. A weight that is masked has a score too, so it may come back when
    the network around it has changed: the difference from iterative SNIP. After
    iteration t of T a share `density ** (t / T)` of the weights is kept.

    Args:
        training: Whether the model runs as in training, see `SNIP`. Defaults to True.

    References:
        - de Jorge et al. 2021, "Progressive skeletonization: trimming more fat from a
          network at initialization" (arXiv 2006.09081)

    Example:
        >>> FORCE().iterations, FORCE().resurrects
        (60, True)
    """

    iterations = 60
    resurrects = True


class GraSP(Criterion):
    """Scores a weight by what it contributes to the flow of gradients.

    Removing w changes the squared norm of the gradient g, by which the loss falls in
    the first step, by `-2 w * (H g)` to first order, H being the Hessian. The weights
    whose removal raises it most go first: `s = w * (H g)`, which may be negative. (The
    paper scores by `-w * (H g)` and removes the highest.)

    g and H are those of all batches together, so the data are read twice. They are
    taken at a high temperature, as by the authors' own programs, where outputs are
    small and the loss does not saturate. It matters: on the digits, at 90 % sparsity
    after four epochs, the test error is 13 % with the temperature 200 and that of
    guessing with 1.

    Args:
        temperature: The outputs are divided by it, before their softmax or sigmoid
            where the output layer has one. Defaults to 200.
        training: Whether the model runs as in training, see `SNIP`. Defaults to True.

    Raises:
        ValueError: If `temperature` is not a positive number, or `training` is not True
            or False.

    References:
        - Wang et al. 2020, "Picking winning tickets before training by preserving
          gradient flow" (arXiv 2002.07376)

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_initprune import score_weights
        >>> unit = keras.layers.Dense(1, use_bias=False)
        >>> model = keras.Sequential([keras.Input((2,)), unit])
        >>> model.set_weights([np.array([[3.0], [1.0]])])
        >>> model.compile("sgd", "mse", run_eagerly=True)
        >>> data = np.array([[1.0, 2.0]]), np.array([[4.0]])  # H g = (20, 40)
        >>> scores = score_weights(model, GraSP(temperature=1.0), data)
        >>> [score.tolist() for score in scores.values()]
        [[[60.0], [40.0]]]
    """

    needs_data = True

    def __init__(self, temperature: float = 200.0, training: bool = True) -> None:
        is_number = isinstance(temperature, Real) and not isinstance(temperature, bool)
        if not is_number or not 0 < temperature <= sys.float_info.max:
            raise ValueError(
                "`temperature` must be a positive number. "
                f"Received: temperature={temperature!r}"
            )
        self.temperature: float = float(temperature)
        self.training = validation.check_boolean(training, "training")

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `w * (H g)` of the masked network."""
        weights = problem.masked(masks)
        objective = problem.objective(self.temperature, self.training)
        products = objective.hessian_gradient_products(weights, problem.batches)
        return {path: weights[path] * products[path] for path in products}
