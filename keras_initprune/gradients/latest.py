"""The dense gradient of single training steps, at no cost to the others."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend, constraints
from keras_initprune.constraints.weights import PrunableWeight
from keras_initprune.gradients.sums import attach, by_path, check_seen, detach


class DenseGradients:
    """Keeps dL/dw of the training steps for which it is armed, also where w is pruned.

    A removed weight takes part in the step as a zero, so its gradient is the true one;
    the optimizer leaves it out only after it has been seen here. Steps that are not
    armed only read a flag.
    """

    # Every replica keeps its own share; reading adds them up.
    sums_replicas = False

    def __init__(
        self, model: keras.Model, weights: Mapping[str, PrunableWeight]
    ) -> None:
        self._model = model
        self._weights = dict(weights)
        self._gradients: dict[str, keras.Variable] = {}
        self._seen: set[str] = set()
        self._was_armed = False

    def start(self, latest: Mapping[str, np.ndarray] | None = None) -> None:
        """Attach to the optimizer, not armed yet.

        Args:
            latest: What `latest` returned, to take for the gradient of the last step.
                Defaults to none.
        """
        with constraints.strategy_scope(self._model):
            for path, weight in self._weights.items():
                self._gradients[path] = _share(weight.shape)
            self._recorded = _share(())
            self._armed = keras.Variable(
                False, dtype="bool", trainable=False, aggregation="only_first_replica"
            )
        for path, gradient in (latest or {}).items():
            self._gradients[path].assign(gradient)
            self._recorded.assign(1.0)
        attach(self._model, self, self._variables())

    def stop(self) -> None:
        """Detach from the optimizer and free the gradients, if it was started."""
        detach(self._model, self, self._variables())
        self._gradients = {}

    def arm(self) -> None:
        """Keep the gradient of every step until `disarm`; the last one counts."""
        self._armed.assign(True)
        self._was_armed = True

    def disarm(self) -> None:
        """Go on without keeping gradients, and forget the last one."""
        self._armed.assign(False)
        self._recorded.assign(0.0)

    def latest(self) -> dict[str, np.ndarray] | None:
        """Return dL/dw of the last armed step by tensor path.

        None if there was none, or an optimizer that scales the loss skipped them all.
        """
        if not ops.convert_to_numpy(self._recorded):
            return None
        return {
            path: ops.convert_to_numpy(gradient)
            for path, gradient in self._gradients.items()
        }

    def check_seen(self) -> None:
        """Raise if a step was armed and is over, and a gradient was missing.

        Raises:
            ValueError: Names the first weight without a gradient.
        """
        if self._was_armed:
            check_seen(self._weights, self._seen)

    def record(self, gradients: Any, variables: Any) -> None:
        """Keep a step's gradients if armed; runs inside the compiled step."""
        found = by_path(self._weights, gradients, variables)
        self._seen.update(found)  # While the step is traced.
        scale = constraints.innermost_optimizer(self._model).loss_scale_factor or 1.0

        def unscaled() -> list[Any]:
            dense = [_dense(g, self._weights[path].shape) for path, g in found.items()]
            return [*(ops.cast(g, "float32") / scale for g in dense), ops.ones(())]

        kept = [*(self._gradients[path] for path in found), self._recorded]
        # A comparison, since TensorFlow does not take a Keras variable as a condition.
        backend.assign_if(ops.equal(self._armed, True), kept, unscaled)

    def _variables(self) -> list[keras.Variable]:
        if not self._gradients:
            return []
        return [*self._gradients.values(), self._recorded, self._armed]


def _dense(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Return a gradient as a tensor; embeddings have those of the rows they read."""
    if not hasattr(gradient, "dense_shape"):
        return gradient
    rows = ops.expand_dims(gradient.indices, -1)
    return ops.scatter(rows, gradient.values, shape)


def _share(shape: tuple[int, ...]) -> keras.Variable:
    return keras.Variable(
        initializer="zeros",
        shape=shape,
        dtype="float32",
        trainable=False,
        synchronization="on_read",
        aggregation="sum",
    )
