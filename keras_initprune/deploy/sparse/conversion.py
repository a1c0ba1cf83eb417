"""Swaps dense layers for sparse ones where that pays, and back."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend, validation
from keras_initprune.arrays.masks import Mask
from keras_initprune.constraints import MaskConstraint, get_masks
from keras_initprune.constraints.layers import Layers, LayerSelector
from keras_initprune.constraints.training import slot_lists
from keras_initprune.constraints.weights import (
    check_built,
    maskable_weights,
    prunable_weights,
)
from keras_initprune.deploy.sparse import worthwhile
from keras_initprune.deploy.sparse.layer import SparseDense
from keras_initprune.graphs.graph import copy, is_graph

Swap = Callable[[keras.Layer], keras.Layer | None]
# From a source variable's id: the new variable, and what picks its entries out of an
# array of the source's shape.
Successors = dict[int, tuple[keras.Variable, Callable[[np.ndarray], np.ndarray]]]

# Their steps depend on a weight's place in its matrix.
_MATRIX_OPTIMIZERS = (keras.optimizers.Adafactor, keras.optimizers.Muon)

# What both kinds of layer are configured with.
_SHARED = (
    "name",
    "trainable",
    "dtype",
    "units",
    "activation",
    "use_bias",
    "bias_initializer",
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "bias_constraint",
)


def to_sparse(
    model: keras.Model,
    layers: LayerSelector = None,
    threshold: float = worthwhile.THRESHOLD,
    smallest: int | None = None,
    measure: bool = False,
    batch_size: int = 64,
    verbose: int = 0,
) -> keras.Model:
    """Return a copy of a model that multiplies and trains only its kept weights.

    `Dense` layers become `SparseDense` ones where that pays. Everything else stays as
    it is: convolutional, recurrent and attention layers, for which no backend has
    sparse products, and dense layers with too few weights or too few zeros. The pattern
    is that of the masks where there are any, or else of the zeros. On JAX there are no
    sparse layers.

    A compiled model comes back compiled, and its optimizer goes on where it stands: its
    state is carried over and shrinks to the kept weights. XLA is off, since it has no
    sparse products. The model is left alone.

    Args:
        model: A built Sequential or Functional model.
        layers: Which layers may be swapped, see `Layers`. Defaults to all.
        threshold: Least sparsity at which a layer is swapped. Defaults to 0.9.
        smallest: Least number of weights, kept or not, at which a layer is swapped.
            Defaults to 131,072 in TensorFlow, or 8,192 where the layer reads a sparse
            one, and to 32,768 in PyTorch; on a GPU, where sparse products are slower,
            to none at all, with a warning.
        measure: Whether to time a prediction of every layer on this machine both ways
            and take the faster, whatever `threshold` and `smallest` say. Defaults to
            False.
        batch_size: Batch size of these predictions. Defaults to 64.
        verbose: 0 is silent, 1 prints what becomes of every layer and why. Defaults to
            0.

    Returns:
        A new model that computes the same function.

    Raises:
        ValueError: If the model is not built, is subclassed, or `layers` matches
            nothing; if the optimizer does not treat every weight by itself; on JAX.

    Example:
        >>> model = keras.Sequential([keras.Input((512,)), keras.layers.Dense(512)])
        >>> kernel = np.zeros((512, 512), "float32")
        >>> kernel[::20] = 1.0
        >>> model.layers[0].kernel.assign(kernel).shape
        TensorShape([512, 512])
        >>> sparse = to_sparse(model)
        >>> type(sparse.layers[0]).__name__, sparse.layers[0].nonzeros
        ('SparseDense', 13312)
    """
    backend.check_tensorflow(
        "Sparse layers are", "`compact` makes a model smaller on every backend", True
    )
    validation.check_sparsity(threshold, "threshold")
    validation.check_boolean(measure, "measure")
    validation.check_verbose(verbose)
    if smallest is not None:
        validation.check_positive_integer(smallest, "smallest")
    validation.check_positive_integer(batch_size, "batch_size")
    patterns = _patterns(model, layers)
    swapped: set[keras.Layer] = set()
    on_slow_device: list[str] = []

    def swap(layer: keras.Layer) -> keras.Layer | None:
        if id(layer) not in patterns:
            return _stays(layer, _not_taken(layer), verbose)
        pattern = patterns[id(layer)]
        reason = worthwhile.obstacle(layer, pattern)
        if reason is None and measure:
            reason = worthwhile.measured_obstacle(
                layer, _sparse(layer, pattern), batch_size
            )
        elif reason is None:
            usual = worthwhile.smallest_kernel(_reads_only(layer, swapped))
            reason = worthwhile.pays(pattern, threshold, smallest or usual)
            if reason is None and smallest is None:
                device = str(getattr(layer.kernel.value, "device", ""))
                reason = worthwhile.device_obstacle(device)
                on_slow_device.extend([layer.name] * (reason is not None))
        if reason is not None:
            return _stays(layer, reason, verbose)
        if verbose:
            print(f"{layer.name}: sparse, {np.count_nonzero(pattern):,} weights")
        swapped.add(layer)
        return _sparse(layer, pattern)

    result = _swapped(model, swap)
    if on_slow_device:
        warnings.warn(
            f"The layers {', '.join(on_slow_device)} stay dense: they are on a GPU, "
            "where a sparse product is slower than a dense one. To have them sparse "
            "all the same, give `smallest`; `measure=True` times them.",
            stacklevel=2,
        )
    return result


def to_dense(model: keras.Model) -> keras.Model:
    """Return a copy of a model in which sparse layers are dense again, with masks.

    Args:
        model: A model that `to_sparse` returned, trained on or loaded since.

    Returns:
        A new model that computes the same function and stays sparse when it is trained.

    Raises:
        ValueError: If the model has no sparse layers.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), SparseDense(2, nonzeros=2)])
        >>> model.layers[0].assign_kernel(np.array([[1, 0], [0, 2], [0, 0]]))
        >>> [tuple(weight.shape) for weight in to_dense(model).trainable_weights]
        [(3, 2), (2,)]
    """
    check_built(model)
    if not has_sparse_layers(model):
        raise ValueError(f"The model {model.name!r} has no sparse layers.")
    return _swapped(
        model, lambda layer: _dense(layer) if isinstance(layer, SparseDense) else None
    )


def has_sparse_layers(model: keras.Model) -> bool:
    """Tell whether any layer of a model is a `SparseDense`."""
    return any(isinstance(layer, SparseDense) for layer in model._flatten_layers())


def _patterns(model: keras.Model, layers: LayerSelector) -> dict[int, Mask]:
    """Return the kept weights of every plain `Dense` layer, by the layer's id."""
    masks = get_masks(model)
    # Quantised layers stay as they are, unless they are named.
    chosen = (
        maskable_weights(model)
        if Layers.of(layers).is_default
        else prunable_weights(model, layers)
    )
    return {
        id(weight.layer): masks[path] if path in masks else weight.numpy() != 0
        for path, weight in chosen.items()
        # Subclasses may compute something else.
        if type(weight.layer) is keras.layers.Dense
    }


def _reads_only(layer: keras.Layer, sources: set[keras.Layer]) -> bool:
    """Tell whether a layer gets its inputs from some layers and no others."""
    nodes = [parent for node in layer._inbound_nodes for parent in node.parent_nodes]
    return bool(nodes) and all(node.operation in sources for node in nodes)


def _not_taken(layer: keras.Layer) -> str:
    if getattr(layer, "quantization_mode", None):
        return "it is quantised"
    if type(layer) is keras.layers.Dense:
        return "it is not among `layers`"
    return f"there are no sparse products for {type(layer).__name__}"


def _stays(layer: keras.Layer, reason: str, verbose: int) -> keras.Layer | None:
    if verbose and layer.weights:
        print(f"{layer.name}: stays as it is, {reason}")
    return None


def _sparse(layer: keras.layers.Dense, pattern: Mask) -> SparseDense:
    inner = layer.kernel_constraint
    if isinstance(inner, MaskConstraint):
        inner = inner.inner
    sparse = SparseDense(
        nonzeros=int(np.count_nonzero(pattern)),
        kernel_constraint=inner,
        **_shared_config(layer),
    )
    sparse.build((None, pattern.shape[0]))
    sparse.assign_kernel(ops.convert_to_numpy(layer.kernel), pattern)
    if sparse.bias is not None:
        sparse.bias.assign(layer.bias)
    return sparse


def _dense(layer: SparseDense) -> keras.layers.Dense:
    pattern = layer.mask()
    constraint = MaskConstraint(pattern.shape, layer.kernel_constraint)
    constraint.mask.assign(pattern)
    dense = keras.layers.Dense(kernel_constraint=constraint, **_shared_config(layer))
    dense.build((None, pattern.shape[0]))
    dense.kernel.assign(layer.kernel())
    if layer.use_bias:
        dense.bias.assign(layer.bias)
    return dense


def _shared_config(layer: keras.Layer) -> dict[str, Any]:
    config = layer.get_config()
    return {name: config[name] for name in _SHARED if name in config}


def _swapped(model: keras.Model, swap: Swap) -> keras.Model:
    """Copy a model with other layers where `swap` returns one."""
    swapped, pairs = copy(model, swap) if is_graph(model) else (None, [])
    # A copy of a subclass is of the class that it derives from.
    if swapped is None or type(swapped) is not type(model):
        raise ValueError(
            "`model` must be a Sequential or Functional model: others hide how their "
            f"layers are connected. Received: model={model.name!r} (of type "
            f"{type(model).__name__})"
        )
    successors: Successors = {}
    for old, new in pairs:
        successors.update(_successors(old, new))
    _compile_alike(model, swapped, successors)
    return swapped


def _successors(old: Any, new: Any) -> Successors:
    """Say what became of every trainable variable of a layer."""
    is_sparse = isinstance(new, SparseDense)
    if is_sparse == isinstance(old, SparseDense):
        pairs = zip(old.trainable_variables, new.trainable_variables, strict=True)
        return {id(source): (target, lambda slot: slot) for source, target in pairs}
    successors: Successors = {}
    if old.use_bias:
        successors[id(old.bias)] = new.bias, lambda slot: slot
    if is_sparse:
        positions = tuple(ops.convert_to_numpy(new.indices).T)
        successors[id(old.kernel)] = new.values, lambda slot: slot.T[positions]
    else:
        successors[id(old.values)] = new.kernel, old._spread
    return successors


def _compile_alike(
    model: keras.Model, swapped: keras.Model, successors: Successors
) -> None:
    if not model.compiled:
        return
    arguments = dict(model._compile_config.config)
    arguments["optimizer"] = _successor(
        model.optimizer, swapped.trainable_variables, successors
    )
    if has_sparse_layers(swapped):
        arguments["jit_compile"] = False
    swapped.compile(**arguments)


def _successor(
    optimizer: Any, variables: list[keras.Variable], successors: Successors
) -> Any:
    """Return an optimizer for new weights that goes on where another one stands."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, _MATRIX_OPTIMIZERS):
        raise ValueError(
            "`optimizer` must update every weight by itself, as SGD and Adam do: "
            "sparse kernels are trained as vectors. Received: "
            f"optimizer={type(inner).__name__}"
        )
    kind: Any = backend.optimizer_class(optimizer)
    following = kind.from_config(optimizer.get_config())
    if optimizer.built:
        following.build(variables)
        _carry(optimizer, following, successors)
    return following


def _carry(old: Any, new: Any, successors: Successors) -> None:
    """Give a new optimizer the slots and the scalars of an old one."""
    inner = getattr(old, "inner_optimizer", None)
    if inner is None:
        _carry_slots(old, new, successors)
    else:
        _carry(inner, new.inner_optimizer, successors)
    for name, value in vars(old).items():
        if isinstance(value, keras.Variable):
            getattr(new, name).assign(value)


def _carry_slots(old: Any, new: Any, successors: Successors) -> None:
    position = {id(variable): i for i, variable in enumerate(new._trainable_variables)}
    for name, slots in slot_lists(old).items():
        for source, slot in zip(old._trainable_variables, slots, strict=True):
            if slot is not None and id(source) in successors:
                target, pick = successors[id(source)]
                new_slot = getattr(new, name)[position[id(target)]]
                new_slot.assign(pick(ops.convert_to_numpy(slot)))
