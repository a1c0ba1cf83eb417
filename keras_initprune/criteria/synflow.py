"""SynFlow, and the linear network of positive weights through which it flows."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_initprune import backend
from keras_initprune.constraints.weights import PrunableWeight
from keras_initprune.criteria.criterion import Criterion, Masks, Problem, Scores
from keras_initprune.criteria.training_loss import computing_in, exchanged
from keras_initprune.paths.inputs import example_call
from keras_initprune.paths.substitutes import (
    EXTREMA,
    SOURCES,
    own_attribute,
    returns_indices,
)

_DTYPE = "float64"
# What these return never exceeds 1, whatever flows into them.
_BOUNDED: tuple[Callable[..., Any], ...] = (
    keras.activations.sigmoid,
    keras.activations.hard_sigmoid,
    keras.activations.tanh,
    keras.activations.hard_tanh,
    keras.activations.softmax,
    keras.activations.sparsemax,
    keras.activations.softsign,
)
_RECTIFIERS: tuple[type, ...] = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)
_NORMALISATIONS: tuple[type, ...] = (
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
    keras.layers.Normalization,
    keras.layers.Rescaling,
)
_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
_VOLUME_POOLING: tuple[type, ...] = tuple(
    getattr(keras.layers, f"{kind}Pooling3D")
    for kind in ("Max", "Average", "AdaptiveMax", "AdaptiveAverage")
    if hasattr(keras.layers, f"{kind}Pooling3D")
)


class SynFlow(Criterion):
    """Scores a weight by the flow through it, without data.

    The flow R is the sum of the outputs for inputs of ones, in the linear network whose
    weights are `|w|`: of a chain of layers `R = 1' |W_L| ... |W_1| 1`. A weight's score
    is `|w| * dR/d|w|`: the sum over all paths that it lies on of the product of their
    weights. Layer by layer these sums are R, so a layer that loses weights has larger
    scores left, and in a chain of layers many small steps never cut one off before they
    have to. Layers beside each other share R: the projections in the shortcuts of a
    ResNet50 carry little of it and lose all their weights but one at 90 %.

    How layers of a real network are made linear is said in `LinearNetwork`. R grows
    with depth beyond what float32 holds, so all of it is computed in float64.

    References:
        - Tanaka et al. 2020, "Pruning neural networks without any data by iteratively
          conserving synaptic flow" (arXiv 2006.05467), algorithm 1

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_initprune import score_weights
        >>> layers = [keras.layers.Dense(1, use_bias=False) for _ in range(2)]
        >>> model = keras.Sequential([keras.Input((2,)), *layers])
        >>> model.set_weights([np.array([[-3.0], [1.0]]), np.array([[2.0]])])
        >>> [score.tolist() for score in score_weights(model, SynFlow).values()]
        [[[6.0], [2.0]], [[8.0]]]
    """

    iterations = 100

    def score(self, problem: Problem, masks: Masks) -> Scores:
        """Return `|w| * dR/d|w|` of the masked network, in float64."""
        if LinearNetwork not in problem.cache:
            inputs = problem.batches[0].x if problem.batches else None
            problem.cache[LinearNetwork] = LinearNetwork(
                problem.model, problem.weights, inputs
            )
        return problem.cache[LinearNetwork].scores(problem.masked(masks))


class LinearNetwork:
    """A model's linear network with positive weights, in float64.

    The model itself stays as it is. For the flow through it

    - inputs are ones; integers are kept for embeddings, which return the mean of their
      rows, and are ones to kernels; encodings of categories and texts are ones;
    - weights are taken as `|w|`, biases as 0;
    - activations are the identity, and those that never exceed 1, as a sigmoid, divide
      by twice the largest value instead, which counts as a constant;
    - batch normalisation multiplies by `|gamma|` over its moving deviation, and every
      other normalisation is left out; dropout does nothing;
    - attention weighs values by the products of queries and keys, divided likewise;
    - what is subtracted, or of which the maximum or minimum is taken, is added;
    - layers of your own run as they are, in float64 too.
    """

    def __init__(
        self,
        model: keras.Model,
        weights: Mapping[str, PrunableWeight],
        inputs: Any = None,
    ) -> None:
        self._model = model
        self._weights = dict(weights)
        self._call = example_call(model, inputs)
        eager = getattr(model, "run_eagerly", False)
        self._flow = self._flow_of if eager else backend.compiled(self._flow_of)

    def flow(self, values: Mapping[str, NDArray]) -> float:
        """Return R, the sum of outputs for inputs of ones, at weights `|values|`."""
        return self._evaluate(values)[0]

    def scores(self, values: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Return `|w| * dR/d|w|` at weights `|values|`, in float64."""
        return self._evaluate(values)[1]

    def _evaluate(self, values: Mapping[str, NDArray]) -> tuple[float, dict]:
        absolute = {p: np.abs(value).astype(_DTYPE) for p, value in values.items()}
        try:
            with backend.enable_float64():
                tensors = {p: ops.convert_to_tensor(v) for p, v in absolute.items()}
                total, gradients = self._flow(tensors)
                total = float(ops.convert_to_numpy(total))
        except Exception as error:
            # What fails in its own type too has an error of its own.
            with keras.StatelessScope():
                self._call.run(self._model)
            raise ValueError(
                f"SynFlow runs {self._model.name!r} in float64, which a layer of your "
                "own, or an operation, does not take. Have constants follow the type "
                f"of what they meet, as in `tf.constant(2.0, x.dtype)`. {error}"
            ) from error
        if not np.isfinite(total):
            raise FloatingPointError(
                f"The flow through {self._model.name!r} exceeds what float64 holds: "
                "its layers are too many or too wide for SynFlow, or one of your own "
                "divides by zero."
            )
        # Negative are only those of gates that shut what they multiply.
        return total, {
            path: np.abs(value * ops.convert_to_numpy(gradients[path]))
            for path, value in absolute.items()
        }

    def _flow_of(self, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        def total(values: dict[str, Any]) -> tuple[Any, None]:
            with (
                linearised(self._model, self._weights),
                computing_in(self._model, _DTYPE),
                keras.StatelessScope(initialize_variables=False) as scope,
            ):
                self._set_state(scope, values)
                outputs = filter(backend.is_float, self._outputs())
                return sum(ops.sum(ops.cast(o, _DTYPE)) for o in outputs), None

        flow, _, gradients = backend.value_and_gradients(total, values)
        return flow, gradients

    def _set_state(self, scope: Any, values: Mapping[str, Any]) -> None:
        biases = {
            id(getattr(layer, "bias", None))
            for layer in self._model._flatten_layers(include_self=False)
        }
        for variable in self._model.variables:
            if "float" in variable.dtype:
                value = ops.cast(ops.abs(variable.value), _DTYPE)
                if id(variable) in biases:
                    value = ops.zeros_like(value)
                scope.add_update((variable, value))
        for path, value in values.items():
            # Through this door the scope does not cast to the variable's float32.
            scope.add_update((self._weights[path].variable, value))

    def _outputs(self) -> list[Any]:
        inputs = keras.tree.map_structure(_ones, self._call.inputs)
        if self._call.by_name:
            return keras.tree.flatten(self._model(**inputs, training=False))
        return keras.tree.flatten(self._model(inputs, training=False))


def linearised(
    model: keras.Model, weights: Mapping[str, PrunableWeight]
) -> contextlib.AbstractContextManager[None]:
    """Make a model linear for a while, as `LinearNetwork` says."""
    owners = {id(weight.layer) for weight in weights.values()}

    def substitutes(layer: keras.Layer) -> dict[str, Any]:
        found = _substitutes(layer)
        if id(layer) in owners and "call" not in found:
            found |= _weighted(layer)
        return found

    return exchanged(model._flatten_layers(include_self=False), substitutes)


def _substitutes(layer: keras.Layer) -> dict[str, Any]:
    """Return what to put in place of a layer's attributes."""
    if isinstance(layer, _RECTIFIERS + _NORMALISATIONS):
        return {"call": lambda inputs, *args, **kwargs: _numbers(inputs)}
    if isinstance(layer, keras.layers.Softmax):
        return {"call": lambda inputs, *args, **kwargs: _bounded(inputs)}
    if isinstance(layer, keras.layers.BatchNormalization):
        return {"call": _scaling(layer)}
    if isinstance(layer, EXTREMA):
        return {"call": lambda inputs: functools.reduce(ops.add, inputs)}
    if isinstance(layer, _VOLUME_POOLING):
        return {"call": _volume_pooling(layer)}
    if isinstance(layer, SOURCES):
        return {} if returns_indices(layer) else {"call": _encoding(layer)}
    if isinstance(layer, keras.layers.MelSpectrogram):
        return {
            "call": lambda inputs: ops.ones(
                layer.compute_output_shape(inputs.shape), _DTYPE
            )
        }
    if isinstance(layer, keras.layers.Embedding):
        return {"call": _mean_of_rows(layer), "logit_soft_cap": None}
    if isinstance(layer, _ATTENTION):
        key_first = isinstance(layer, keras.layers.MultiHeadAttention)
        return {"_compute_attention": _attention(layer, key_first)}
    if isinstance(layer, keras.layers.Attention):
        return _plain_attention(layer)
    if isinstance(layer, keras.layers.RNN):
        return {"use_cudnn": False, "stateful": False}
    return {
        name: _bounded if activation in _BOUNDED else keras.activations.linear
        for name in ("activation", "recurrent_activation")
        if callable(activation := own_attribute(layer, name))
    }


def _weighted(layer: keras.Layer) -> dict[str, Any]:
    original = layer.call

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return original(_numbers(inputs), *args, **kwargs)

    if getattr(layer, "data_format", None) != "channels_first":
        return {"call": call}

    # CPUs have no kernels for it in float64.
    def transposed(*args: Any, **kwargs: Any) -> Any:
        return _moved(call(*_moved(args, 1, -1), **kwargs), -1, 1)

    return {"call": transposed, "data_format": "channels_last"}


def _moved(values: Any, source: int, target: int) -> Any:
    return keras.tree.map_structure(
        lambda v: ops.moveaxis(v, source, target) if ops.is_tensor(v) else v, values
    )


def _numbers(values: Any) -> Any:
    """Return floats as they are, and ones for integers."""
    values = ops.convert_to_tensor(values)
    return values if backend.is_float(values) else ops.ones_like(values, _DTYPE)


def _encoding(layer: keras.Layer) -> Callable[..., Any]:
    original = layer.call
    # Which categories there are depends on the data, so every one counts.
    return lambda *args, **kwargs: ops.ones_like(original(*args, **kwargs), _DTYPE)


def _volume_pooling(layer: keras.Layer) -> Callable[..., Any]:
    """Pool planes, then depths: TensorFlow does not pool volumes in float64."""

    def call(inputs: Any) -> Any:
        is_last = layer.data_format == "channels_last"
        values = inputs if is_last else ops.moveaxis(inputs, 1, -1)
        _, depth, height, width, channels = values.shape
        planes = ops.reshape(values, (-1, height, width, channels))
        planes = _pooled(layer, planes, along_depth=False)
        _, height, width, _ = planes.shape
        columns = ops.reshape(planes, (-1, depth, height * width, channels))
        columns = _pooled(layer, columns, along_depth=True)
        pooled = ops.reshape(columns, (-1, columns.shape[1], height, width, channels))
        return pooled if is_last else ops.moveaxis(pooled, -1, 1)

    return call


def _pooled(layer: keras.Layer, values: Any, along_depth: bool) -> Any:
    if hasattr(layer, "output_size"):
        depth, *plane = layer.output_size
        size = (depth, values.shape[2]) if along_depth else tuple(plane)
        is_maximum = isinstance(layer, keras.layers.AdaptiveMaxPooling3D)
        adaptive = ops.adaptive_max_pool if is_maximum else ops.adaptive_average_pool
        return adaptive(values, size, "channels_last")
    size, strides = (
        (of[0], 1) if along_depth else tuple(of[1:])
        for of in (layer.pool_size, layer.strides)
    )
    pool = ops.max_pool if layer.pool_mode == "max" else ops.average_pool
    return pool(values, size, strides, layer.padding, "channels_last")


def _bounded(values: Any, *args: Any, **kwargs: Any) -> Any:
    """Divide by twice the largest value, a constant to derivatives.

    Not by the largest itself: a gate at 1 would shut what it is the complement of.
    """
    largest = 2 * ops.stop_gradient(ops.max(values))
    return values / ops.where(largest > 0, largest, ops.ones_like(largest))


def _scaling(layer: keras.layers.BatchNormalization) -> Callable[..., Any]:
    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        scale = ops.rsqrt(layer.moving_variance + layer.epsilon)
        if layer.scale:
            scale = scale * layer.gamma
        shape = [1] * len(inputs.shape)
        shape[layer.axis] = -1
        return inputs * ops.reshape(ops.cast(scale, inputs.dtype), shape)

    return call


def _mean_of_rows(layer: keras.layers.Embedding) -> Callable[..., Any]:
    original = layer.call

    def call(inputs: Any, *args: Any, reverse: bool = False, **kwargs: Any) -> Any:
        if reverse:
            return original(inputs, reverse=True)
        # Which rows are looked up depends on the data, so every row counts.
        mean = ops.mean(ops.cast(layer.embeddings, _DTYPE), axis=0)
        return ops.broadcast_to(mean, (*inputs.shape, mean.shape[0]))

    return call


def _attention(layer: keras.Layer, key_first: bool) -> Callable[..., Any]:
    def attend(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        operands = (key, query) if key_first else (query, key)
        scores = _bounded(ops.einsum(layer._dot_product_equation, *operands))
        return ops.einsum(layer._combine_equation, scores, value), scores

    return attend


def _plain_attention(layer: keras.layers.Attention) -> dict[str, Any]:
    def weigh(scores: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        weights = _bounded(scores)
        return ops.matmul(weights, value), weights

    def add(query: Any, key: Any) -> Any:
        pairs = ops.expand_dims(query, -2) + ops.expand_dims(key, -3)
        return ops.sum(_bounded(pairs), axis=-1)

    is_additive = isinstance(layer, keras.layers.AdditiveAttention)
    if is_additive or layer.score_mode == "concat":
        return {"_apply_scores": weigh, "_calculate_scores": add}
    return {"_apply_scores": weigh}


def _ones(value: Any) -> Any:
    value = ops.convert_to_tensor(value)[:1]
    return ops.ones_like(value) if backend.is_float(value) else value
