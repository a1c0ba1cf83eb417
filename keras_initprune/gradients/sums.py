"""Gathers gradients while a model trains, which callbacks do not get to see.

While a `GradientRecorder` runs, the optimizer's `apply` is wrapped on the instance.
When the last one stops, the wrapper goes and the training step is traced anew, so that
later steps cost nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend, constraints
from keras_initprune.constraints.weights import PrunableWeight

_RECORDERS = "_initprune_recorders"


class GradientRecorder:
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
        self._model = model
        self._weights = dict(weights)
        self._gathers = gradients
        self._magnitudes = magnitudes
        # `record` then gets the gradients of all replicas together, unscaled.
        self.sums_replicas = gradients
        self._totals: dict[str, keras.Variable] = {}
        self._decays: dict[str, keras.Variable] = {}
        self._seen: set[str] = set()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to follow."""
        optimizers = constraints.updating_optimizers(self._model)
        return self._gathers or any(optimizer.weight_decay for optimizer in optimizers)

    def start(
        self, state: Mapping[str, Mapping[str, np.ndarray]] | None = None
    ) -> None:
        """Begin to follow the training steps.

        Args:
            state: What `state` returned, to go on from. Defaults to a fresh start.
        """
        if not self.is_needed:
            return
        with constraints.strategy_scope(self._model):
            for path, weight in self._weights.items():
                if self._gathers:
                    self._totals[path] = _accumulator(weight.shape, "zeros")
                if self._decaying(weight):
                    self._decays[path] = _accumulator((), "ones")
        for name, variables in (("gradients", self._totals), ("decays", self._decays)):
            for path, value in (state or {}).get(name, {}).items():
                variables[path].assign(value)
        attach(self._model, self, self._variables())

    def stop(self) -> None:
        """Stop following and free what was gathered, if anything was started."""
        detach(self._model, self, self._variables())
        self._totals, self._decays = {}, {}

    def totals(self) -> dict[str, np.ndarray]:
        """Return the summed gradients by tensor path; zeros if none are gathered.

        Raises:
            ValueError: If the optimizer was given no gradient of a weight.
        """
        if not self._totals:
            return {p: np.zeros(w.shape, np.float32) for p, w in self._weights.items()}
        totals = {p: ops.convert_to_numpy(v) for p, v in self._totals.items()}
        seen = self._seen | {path for path, total in totals.items() if total.any()}
        check_seen(self._weights, seen)
        return totals

    def reset(self) -> None:
        """Begin the sums anew."""
        for total in self._totals.values():
            total.assign(ops.zeros(total.shape))

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """Return what has been gathered so far, for `start`."""
        return {
            "gradients": {p: ops.convert_to_numpy(v) for p, v in self._totals.items()},
            "decays": {p: ops.convert_to_numpy(v) for p, v in self._decays.items()},
        }

    def decayed(self, path: str, start: np.ndarray) -> np.ndarray:
        """Return where weight decay alone would have brought a weight by now."""
        if path not in self._decays:
            return start
        return start * float(ops.convert_to_numpy(self._decays[path]))

    def record(self, gradients: Any, variables: Any) -> None:
        """Take in the gradients of one global batch; runs inside the compiled step."""
        found = by_path(self._weights, gradients, variables) if self._totals else {}
        self._seen.update(found)  # While the step is traced.
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


def stop_all(model: keras.Model) -> None:
    """Stop every recorder of a model, also those whose `fit` was interrupted."""
    optimizer = constraints.innermost_optimizer(model)
    for recorder in list(vars(optimizer).get(_RECORDERS, ())) if optimizer else ():
        recorder.stop()


def check_seen(paths: Iterable[str], seen: Collection[str]) -> None:
    """Raise unless a gradient of every weight was seen.

    Raises:
        ValueError: Names the first without one.
    """
    for path in paths:
        if path not in seen:
            raise ValueError(
                f"No gradient of {path!r} was seen, so there is nothing to choose by: "
                "gradients are read from the optimizer that `compile` was given, which "
                "does not update this weight. Train it with `model.optimizer`, leave "
                "it out with `layers`, or score by something else than gradients."
            )


def by_path(
    weights: Mapping[str, PrunableWeight], gradients: Any, variables: Any
) -> dict[str, Any]:
    """Return those gradients of an optimizer's variables that are of some weights."""
    pairs = zip(gradients, variables, strict=True)
    known = {id(variable): g for g, variable in pairs if g is not None}
    return {
        path: known[id(weight.variable)]
        for path, weight in weights.items()
        if id(weight.variable) in known
    }


def _accumulator(shape: tuple[int, ...], initializer: str) -> keras.Variable:
    # Every replica adds the same reduced gradient, so each holds the whole sum.
    return keras.Variable(
        initializer=initializer,
        shape=shape,
        dtype="float32",
        trainable=False,
        aggregation="only_first_replica",
    )


def attach(
    model: keras.Model, recorder: Any, variables: Sequence[keras.Variable]
) -> None:
    """Have a model's optimizer show its gradients to a recorder.

    A recorder has `sums_replicas` and `record`, which assigns to the variables.
    """
    optimizer = constraints.innermost_optimizer(model)
    backend.carry(optimizer, variables)
    recorders = vars(optimizer).setdefault(_RECORDERS, [])
    recorders.append(recorder)
    if len(recorders) == 1:
        _show_gradients(optimizer, recorders)
    constraints.forget_compiled_functions(model)


def _show_gradients(optimizer: Any, recorders: Sequence[Any]) -> None:
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


def detach(
    model: keras.Model, recorder: Any, variables: Sequence[keras.Variable]
) -> None:
    """Undo `attach`, if the recorder was attached."""
    optimizer = constraints.innermost_optimizer(model)
    recorders = vars(optimizer).get(_RECORDERS, [])
    if recorder not in recorders:
        return
    recorders.remove(recorder)
    backend.drop(optimizer, variables)
    if not recorders:
        del vars(optimizer)["apply"], vars(optimizer)[_RECORDERS]
    constraints.forget_compiled_functions(model)


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
