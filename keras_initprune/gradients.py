"""Gathers gradients while a model trains, which callbacks do not get to see.

While a recorder runs, the optimizer's `apply` is wrapped on the instance. When the last
one stops, the wrapper goes and the training step is traced anew, so that later steps
cost nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend, constraints
from keras_initprune.constraints.weights import PrunableWeight

_RECORDERS = "_initprune_recorders"


class _Recorder:
    """Sees an optimizer's gradients of some weights; `record` is told of them."""

    # Whether `record` gets the gradients of all replicas together, unscaled.
    sums_replicas = False

    def __init__(
        self, model: keras.Model, weights: Mapping[str, PrunableWeight]
    ) -> None:
        self._model = model
        self._weights = dict(weights)
        self._seen: set[str] = set()

    def record(self, gradients: Any, variables: Any) -> None:
        """Take in the gradients of one step; runs inside the compiled step."""
        raise NotImplementedError

    def stop(self) -> None:
        """Detach from the optimizer and free what was gathered, if it was started."""
        optimizer = constraints.innermost_optimizer(self._model)
        recorders = vars(optimizer).get(_RECORDERS, [])
        if self in recorders:
            recorders.remove(self)
            backend.drop(optimizer, self._variables())
            if not recorders:
                del vars(optimizer)["apply"], vars(optimizer)[_RECORDERS]
            constraints.forget_compiled_functions(self._model)

    def _attach(self) -> None:
        optimizer = constraints.innermost_optimizer(self._model)
        backend.carry(optimizer, self._variables())
        recorders = vars(optimizer).setdefault(_RECORDERS, [])
        recorders.append(self)
        if len(recorders) == 1:
            _show_gradients(optimizer, recorders)
        constraints.forget_compiled_functions(self._model)

    def _variables(self) -> list[keras.Variable]:
        """Return what `record` assigns to."""
        raise NotImplementedError

    def _of_weights(self, gradients: Any, variables: Any) -> dict[str, Any]:
        """Return the gradients of the weights by path, and note which there are."""
        pairs = zip(gradients, variables, strict=True)
        known = {id(variable): g for g, variable in pairs if g is not None}
        found = {
            path: known[id(weight.variable)]
            for path, weight in self._weights.items()
            if id(weight.variable) in known
        }
        self._seen.update(found)  # While the step is traced.
        return found

    def _check_seen(self, seen: Collection[str]) -> None:
        for path in self._weights:
            if path not in seen:
                raise ValueError(
                    f"No gradient of {path!r} was seen, so there is nothing to choose "
                    "by: gradients are read from the optimizer that `compile` was "
                    "given, which does not update this weight. Train it with "
                    "`model.optimizer`, leave it out with `layers`, or score by "
                    "something else than gradients."
                )


class GradientRecorder(_Recorder):
    """Sums gradients over training steps, and follows decoupled weight decay.

    Args:
        model: A compiled model.
        weights: The weights to follow, by tensor path.
        gradients: Whether to sum gradients. Weight decay is followed in any case.
        magnitudes: Whether to sum |dL/dw|, or dL/dw itself. Defaults to True.
    """

    def __init__(
        self,
        model: keras.Model,
        weights: Mapping[str, PrunableWeight],
        gradients: bool = True,
        magnitudes: bool = True,
    ) -> None:
        super().__init__(model, weights)
        self._magnitudes = magnitudes
        self._gathers = self.sums_replicas = gradients
        self._totals: dict[str, keras.Variable] = {}
        self._decays: dict[str, keras.Variable] = {}

    def start(
        self, state: Mapping[str, Mapping[str, np.ndarray]] | None = None
    ) -> None:
        """Begin to follow the training steps, if there is anything to follow.

        Args:
            state: What `state` returned, to go on from. Defaults to a fresh start.
        """
        optimizers = constraints.updating_optimizers(self._model)
        if not self._gathers and not any(each.weight_decay for each in optimizers):
            return
        with constraints.strategy_scope(self._model):
            for path, weight in self._weights.items():
                if self._gathers:
                    self._totals[path] = _accumulator(weight.shape)
                if self._decaying(weight):
                    self._decays[path] = _accumulator((), "ones")
        for name, variables in (("gradients", self._totals), ("decays", self._decays)):
            for path, value in (state or {}).get(name, {}).items():
                variables[path].assign(value)
        self._attach()

    def stop(self) -> None:
        """Stop following and free what was gathered, if anything was started."""
        super().stop()
        self._totals, self._decays = {}, {}

    def totals(self) -> dict[str, np.ndarray]:
        """Return the summed gradients by tensor path; zeros if none are gathered.

        Raises:
            ValueError: If the optimizer was given no gradient of a weight.
        """
        if not self._totals:
            return {p: np.zeros(w.shape, np.float32) for p, w in self._weights.items()}
        totals = _arrays(self._totals)
        # Those of a run that goes on were seen before.
        self._check_seen(self._seen | {p for p, total in totals.items() if total.any()})
        return totals

    def reset(self) -> None:
        """Begin the sums anew."""
        for total in self._totals.values():
            total.assign(ops.zeros(total.shape))

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """Return what has been gathered so far, for `start`."""
        return {"gradients": _arrays(self._totals), "decays": _arrays(self._decays)}

    def decayed(self, path: str, start: np.ndarray) -> np.ndarray:
        """Return where weight decay alone would have brought a weight by now."""
        if path not in self._decays:
            return start
        return start * float(ops.convert_to_numpy(self._decays[path]))

    def record(self, gradients: Any, variables: Any) -> None:
        """Take in the gradients of one global batch; runs inside the compiled step."""
        found = self._of_weights(gradients, variables) if self._totals else {}
        for path, gradient in found.items():
            total = self._totals[path]
            total.assign_add(ops.abs(gradient) if self._magnitudes else gradient)
        for path, decay in self._decays.items():
            decaying = self._decaying(self._weights[path])
            decay.assign(decay * _decay_factor(decaying))

    def _variables(self) -> list[keras.Variable]:
        return [*self._totals.values(), *self._decays.values()]

    def _decaying(self, weight: PrunableWeight) -> Any:
        """Return the optimizer that lets a weight decay, or None."""
        optimizer = constraints.updating_optimizer(self._model, weight.variable)
        decays = optimizer.weight_decay and optimizer._use_weight_decay(weight.variable)
        return optimizer if decays else None


class DenseGradients(_Recorder):
    """Keeps dL/dw of the training steps for which it is armed, also where w is pruned.

    A removed weight takes part in the step as a zero, so its gradient is the true one;
    the optimizer leaves it out only after it has been seen here. Steps that are not
    armed only read a flag. Every replica keeps its own share; reading adds them up.
    """

    def start(self, latest: Mapping[str, np.ndarray] | None = None) -> None:
        """Attach to the optimizer, not armed yet.

        Args:
            latest: What `latest` returned, to take for the gradient of the last step.
                Defaults to none.
        """
        self._gradients: dict[str, keras.Variable] = {}
        self._was_armed = False
        share = {"synchronization": "on_read", "aggregation": "sum"}
        with constraints.strategy_scope(self._model):
            for path, weight in self._weights.items():
                self._gradients[path] = _accumulator(weight.shape, **share)
            self._recorded = _accumulator((), **share)
            self._armed = keras.Variable(
                False, dtype="bool", trainable=False, aggregation="only_first_replica"
            )
        for path, gradient in (latest or {}).items():
            self._gradients[path].assign(gradient)
            self._recorded.assign(1.0)
        self._attach()

    def stop(self) -> None:
        """Detach from the optimizer and free the gradients, if it was started."""
        super().stop()
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
        return _arrays(self._gradients)

    def check_seen(self) -> None:
        """Raise if a step was armed and is over, and a gradient was missing.

        Raises:
            ValueError: Names the first weight without a gradient.
        """
        if self._was_armed:
            self._check_seen(self._seen)

    def record(self, gradients: Any, variables: Any) -> None:
        """Keep a step's gradients if armed; runs inside the compiled step."""
        found = self._of_weights(gradients, variables)
        scale = constraints.innermost_optimizer(self._model).loss_scale_factor or 1.0

        def unscaled() -> list[Any]:
            dense = [_dense(g, self._weights[path].shape) for path, g in found.items()]
            return [*(ops.cast(g, "float32") / scale for g in dense), ops.ones(())]

        kept = [*(self._gradients[path] for path in found), self._recorded]
        # A comparison, since TensorFlow does not take a Keras variable as a condition.
        backend.assign_if(ops.equal(self._armed, True), kept, unscaled)

    def _variables(self) -> list[keras.Variable]:
        return [*self._gradients.values(), self._recorded, self._armed]


def stop_all(model: keras.Model) -> None:
    """Stop every recorder of a model, also those whose `fit` was interrupted."""
    optimizer = constraints.innermost_optimizer(model)
    for recorder in list(vars(optimizer).get(_RECORDERS, ())) if optimizer else ():
        recorder.stop()


def _show_gradients(optimizer: Any, recorders: Sequence[_Recorder]) -> None:
    inner_apply = optimizer.apply

    def apply(grads: Any, trainable_variables: Any = None) -> Any:
        variables = list(trainable_variables or optimizer._trainable_variables)
        whole = grads = list(grads)
        if any(each.sums_replicas for each in recorders):
            whole, grads = _whole_gradients(optimizer, grads)
        for each in recorders:
            each.record(whole if each.sums_replicas else grads, variables)
        return inner_apply(grads, trainable_variables)

    vars(optimizer)["apply"] = apply


def _whole_gradients(optimizer: Any, gradients: list[Any]) -> tuple[list, list]:
    """Return the gradients of the global batch, unscaled, and those to go on with."""
    whole, gradients = backend.across_replicas(gradients)
    unscaled = [g if g is None else ops.cast(g, "float32") for g in whole]
    if scale := optimizer.loss_scale_factor:
        unscaled = [g if g is None else g / scale for g in unscaled]
    return unscaled, gradients


def _decay_factor(optimizer: Any) -> Any:
    """Return by what decoupled weight decay multiplies weights in this step."""
    rate = ops.cast(optimizer.learning_rate, "float32")
    factor = 1.0 - rate * optimizer.weight_decay
    steps = optimizer.gradient_accumulation_steps
    if not steps:
        return factor
    is_update = ops.equal((optimizer._iterations + 1) % steps, 0)
    return ops.where(is_update, factor, 1.0)


def _dense(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Return a gradient as a tensor; embeddings have those of the rows they read."""
    if not hasattr(gradient, "dense_shape"):
        return gradient
    rows = ops.expand_dims(gradient.indices, -1)
    return ops.scatter(rows, gradient.values, shape)


def _accumulator(
    shape: tuple[int, ...],
    initializer: str = "zeros",
    synchronization: str = "auto",
    # Where every replica adds the same reduced gradient, each holds the whole sum.
    aggregation: str = "only_first_replica",
) -> keras.Variable:
    return keras.Variable(
        initializer=initializer,
        shape=shape,
        dtype="float32",
        trainable=False,
        synchronization=synchronization,
        aggregation=aggregation,
    )


def _arrays(variables: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    return {path: ops.convert_to_numpy(each) for path, each in variables.items()}
