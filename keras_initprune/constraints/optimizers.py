"""What optimizers keep per weight, and the optimizers inside optimizers."""

from typing import Any

import keras

# A weight's slot and the value that a new optimizer would begin it with.
Slot = tuple[keras.Variable, float]

_UNSUPPORTED_STRATEGIES = (
    "MultiWorkerMirroredStrategy",
    "CollectiveAllReduceStrategy",
    "ParameterServerStrategy",
    "ParameterServerStrategyV2",
)


def innermost_optimizer(model: keras.Model) -> Any:
    """Return the optimizer that sees unscaled gradients, or None before `compile`."""
    optimizer: Any = getattr(model, "optimizer", None)
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def updating_optimizers(model: keras.Model) -> list[Any]:
    """Return the optimizers that update weights: one, or those of `MultiOptimizer`."""
    optimizer = innermost_optimizer(model)
    if optimizer is None:
        return []
    return list(getattr(optimizer, "optimizers", [optimizer]))


def updating_optimizer(model: keras.Model, weight: keras.Variable) -> Any:
    """Return the optimizer that updates a weight of a compiled model."""
    optimizer = innermost_optimizer(model)
    if hasattr(optimizer, "optimizers"):
        return optimizer._optimizer_map(weight)
    return optimizer


def training_step(model: keras.Model) -> int:
    """Return how many steps a compiled model's optimizer has taken."""
    return int(keras.ops.convert_to_numpy(innermost_optimizer(model)._iterations))


def check_training_is_supported(model: keras.Model) -> None:
    """Raise if Keras itself fails in the way in which a model is to be trained.

    Raises:
        ValueError: Names the limitation of Keras and the way around it.
    """
    strategy = getattr(model, "distribute_strategy", None)
    name = type(strategy).__name__
    if name in _UNSUPPORTED_STRATEGIES:
        raise ValueError(
            f"Keras 3 does not train under `{name}`: it takes the replicas of one "
            "machine only. Use `MirroredStrategy` on every machine, and several "
            "machines as workers of one KerasTuner search. Received: a model made "
            f"under strategy={name}"
        )
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    steps = [o.gradient_accumulation_steps or 0 for o in updating_optimizers(model)]
    if replicas > 1 and any(steps):
        raise ValueError(
            "Keras 3 cannot accumulate gradients on several replicas: "
            "`gradient_accumulation_steps` must be None there. Use a larger batch, or "
            "train on one device. Received: "
            f"gradient_accumulation_steps={max(steps)} on {replicas} replicas"
        )


def optimizer_slots(model: keras.Model) -> dict[int, list[Slot]]:
    """Return what the optimizers keep for every weight, by the id of the weight.

    Slots of another shape than the weight's, such as factored moments, belong to no
    single entry of it.
    """
    slots: dict[int, list[Slot]] = {}
    for optimizer in updating_optimizers(model):
        for name, kept in slot_lists(optimizer).items():
            # Adagrad and Ftrl begin sums of squares above zero and divide by them.
            is_sum = name == "_accumulators"
            initial = optimizer.initial_accumulator_value if is_sum else 0.0
            for weight, slot in zip(optimizer._trainable_variables, kept, strict=True):
                if slot is not None and slot.shape == weight.shape:
                    slots.setdefault(id(weight), []).append((slot, initial))
    return slots


def slot_lists(optimizer: Any) -> dict[str, list[Any]]:
    """Return an optimizer's lists of one variable for every trainable one, by name.

    None stands for variables that it keeps no such slot of.
    """
    count = len(optimizer._trainable_variables)
    return {
        name: kept
        for name, kept in vars(optimizer).items()
        if name not in ("_trainable_variables", "_variables", "_tracker")
        and isinstance(kept, list)
        and len(kept) == count
        and all(slot is None or isinstance(slot, keras.Variable) for slot in kept)
    }
