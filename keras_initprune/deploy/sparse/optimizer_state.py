"""Carries an optimizer's state over to another model's weights."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend
from keras_initprune.constraints.training import slot_lists

# From a source variable's id: the new variable, and what picks its entries out of an
# array of the source's shape.
Successors = Mapping[int, tuple[keras.Variable, Callable[[np.ndarray], np.ndarray]]]

# Their steps depend on a weight's place in its matrix.
_MATRIX_OPTIMIZERS = (keras.optimizers.Adafactor, keras.optimizers.Muon)


def check_elementwise(optimizer: Any) -> None:
    """Raise unless an optimizer treats every weight by itself."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, _MATRIX_OPTIMIZERS):
        raise ValueError(
            "`optimizer` must update every weight by itself, as SGD and Adam do: "
            "sparse kernels are trained as vectors. Received: "
            f"optimizer={type(inner).__name__}"
        )


def successor(
    optimizer: Any, variables: list[keras.Variable], successors: Successors
) -> Any:
    """Return an optimizer for new weights that goes on where another one stands.

    Returns:
        A built optimizer of the same kind, with its iterations and slots.
    """
    check_elementwise(optimizer)
    kind: Any = backend.optimizer_class(optimizer)
    following = kind.from_config(optimizer.get_config())
    if optimizer.built:
        following.build(variables)
        _carry(optimizer, following, successors)
    return following


def _carry(old: Any, new: Any, successors: Successors) -> None:
    inner = getattr(old, "inner_optimizer", None)
    if inner is not None:
        _carry(inner, new.inner_optimizer, successors)
        _copy_scalars(old, new)
        return
    position = {id(variable): i for i, variable in enumerate(new._trainable_variables)}
    for name, slots in slot_lists(old).items():
        for source, slot in zip(old._trainable_variables, slots, strict=True):
            if slot is None or id(source) not in successors:
                continue
            target, pick = successors[id(source)]
            new_slot = getattr(new, name)[position[id(target)]]
            new_slot.assign(pick(ops.convert_to_numpy(slot)))
    _copy_scalars(old, new)


def _copy_scalars(old: Any, new: Any) -> None:
    for name, value in vars(old).items():
        if isinstance(value, keras.Variable):
            getattr(new, name).assign(value)
