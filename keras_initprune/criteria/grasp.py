"""GraSP: gradient signal preservation."""

import sys
from numbers import Real

from keras_initprune import validation
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores


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
