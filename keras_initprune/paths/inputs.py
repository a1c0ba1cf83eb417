"""Makes up the inputs of a model, of signals: values that only say if a unit is live.

Every example gets its own inputs. A unit that depends on them differs from example to
example, a unit that does not is the same in all of them. Replacing values by signals
gives live units a number that belongs to the example, and dead ones a constant. It is
done to gradients too, on their way back, so nothing grows or vanishes, however deep.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend

# One example to compare with and two that differ from it, should rounding hide one.
_FEWEST_EXAMPLES = 3
_MOST_EXAMPLES = 256
# Enough for networks that halve an image five times before a kernel of 2 x 2 reads it.
_OPEN_SIZE = 64
# Dead units emit a number that is not zero, because they may multiply live ones, as
# gates do. It is small, so that rounding does not lose live ones that are added to it.
_CONSTANT = 0.125
_ROUNDING_STEPS = 8


class UnknownInputsError(ValueError):
    """Nothing is known of a model's inputs from which some could be made up."""


@dataclass(frozen=True)
class ExampleCall:
    """A call of a model on a few examples.

    Attributes:
        inputs: What the model is called with.
        by_name: Whether `inputs` is a dictionary of keyword arguments.
        is_made_up: Whether shapes and types come from the model and not from the user.
        has_open_shape: Whether a size was made up that the model leaves open.
    """

    inputs: Any
    by_name: bool = False
    is_made_up: bool = False
    has_open_shape: bool = False

    @property
    def examples(self) -> int:
        """Number of examples."""
        return int(keras.tree.flatten(self.inputs)[0].shape[0])

    def run(self, model: keras.Model) -> Any:
        """Call the model in inference mode and return its outputs."""
        try:
            if self.by_name:
                return model(**self.inputs, training=False)
            return model(self.inputs, training=False)
        except Exception as error:
            if not self.is_made_up:
                raise
            raise UnknownInputsError(
                f"The model {model.name!r} does not run on inputs made up from the "
                "input shapes that it knows. Pass a small batch as `inputs`. "
                f"Received: inputs=None"
            ) from error


def example_call(model: keras.Model, inputs: Any = None) -> ExampleCall:
    """Return a call of a model on inputs that differ from example to example.

    Args:
        model: A built Keras model.
        inputs: A batch whose shapes, types and integers to take; a dictionary by the
            names of the arguments of `model.call` if there are several. Defaults to
            what the model knows of its inputs.

    Raises:
        ValueError: If the model knows nothing of its inputs, and `inputs` is None.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> tuple(example_call(model).inputs.shape)
        (3, 8)
    """
    declared = _declared_inputs(model)
    if inputs is not None:
        arguments = inspect.signature(model.call).parameters
        by_name = isinstance(inputs, dict) and inputs.keys() <= arguments.keys()
        return ExampleCall(_vary(inputs, declared), by_name)
    if declared is None:
        declared = keras.tree.map_shape_structure(
            lambda shape: keras.KerasTensor(shape, keras.backend.floatx()),
            _remembered_shapes(model),
        )
    specs = keras.tree.flatten(declared)
    made = [_made_up(spec, at) for at, spec in enumerate(specs)]
    return ExampleCall(
        keras.tree.pack_sequence_as(declared, made),
        is_made_up=True,
        has_open_shape=any(None in spec.shape[1:] for spec in specs),
    )


def _declared_inputs(model: keras.Model) -> Any:
    """Return the symbolic inputs of a Sequential or Functional model, or None."""
    declared = getattr(model, "_inputs_struct", None)
    if declared is None:
        declared = getattr(model, "inputs", None)
    if isinstance(declared, list | tuple) and len(declared) == 1:
        return declared[0]
    return declared


def _remembered_shapes(model: keras.Model) -> Any:
    """Return the shapes that a model was built with."""
    config = model.get_build_config() or {}
    if config.get("input_shape") is None:
        raise UnknownInputsError(
            f"The model {model.name!r} does not know the shapes of its inputs. Pass a "
            "small batch as `inputs`. Received: inputs=None"
        )
    return config["input_shape"]


def _vary(inputs: Any, declared: Any) -> Any:
    """Give every example its own numbers where the model reads floats."""
    flat = _tensors(inputs)
    specs = keras.tree.flatten(declared) if declared is not None else flat
    if len(specs) != len(flat):
        specs = flat
    examples = int(flat[0].shape[0])
    examples = min(max(examples, _FEWEST_EXAMPLES), _MOST_EXAMPLES)
    varied = []
    for at, (value, spec) in enumerate(zip(flat, specs, strict=True)):
        if _is_float(spec):
            varied.append(_noise((examples, *value.shape[1:]), spec.dtype, at))
        else:
            rows = np.arange(examples) % int(value.shape[0])
            varied.append(ops.take(value, rows, axis=0))
    return keras.tree.pack_sequence_as(inputs, varied)


def _tensors(inputs: Any) -> list[Any]:
    try:
        tensors = [ops.convert_to_tensor(value) for value in keras.tree.flatten(inputs)]
    except (TypeError, ValueError):
        tensors = []
    if not tensors or not all(len(value.shape) and value.shape[0] for value in tensors):
        raise ValueError(
            "`inputs` must be a small batch of what the model is called with: arrays "
            f"with an axis of examples, at least one. Received: inputs={inputs!r}"
        )
    return tensors


def _made_up(spec: Any, at: int) -> Any:
    sizes = [_OPEN_SIZE if size is None else size for size in spec.shape[1:]]
    shape = (_FEWEST_EXAMPLES, *sizes)
    if _is_float(spec):
        return _noise(shape, spec.dtype, at)
    if spec.dtype == "string":
        return ops.convert_to_tensor(np.full(shape, ""))
    # Integers may be numbers as well as names, and zeros often stand for padding.
    rows = np.arange(1, 1 + shape[0]).reshape(-1, *[1] * len(sizes))
    return ops.cast(np.broadcast_to(rows, shape), spec.dtype)


def _is_float(spec: Any) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(spec.dtype))


def _noise(shape: Sequence[int], dtype: Any, at: int) -> Any:
    return Signals(stream=at + 1).source(ops.ones(shape, dtype))


class Signals:
    """Replaces values by signals, by other ones at every call.

    Args:
        stream: Signals of other streams differ. Defaults to 0.

    Example:
        >>> values = ops.array([[0.0, 3.0], [0.0, 4.0]])
        >>> ops.convert_to_numpy(Signals().clean(values))[:, 0].tolist()
        [0.0, 0.0]
    """

    def __init__(self, stream: int = 0) -> None:
        self._stream = stream
        self._calls = 0

    def source(self, values: Any) -> Any:
        """Return signals of the shape of `values`, live wherever it is not 0."""
        return self._signal(values, lambda values: ops.not_equal(values, 0), _CONSTANT)

    def data(self, values: Any, dtype: str) -> Any:
        """Return signals of the shape of `values` that are all live."""
        return self.source(ops.ones(values.shape, dtype))

    def clean(self, values: Any) -> Any:
        """Return signals in which dead units are 0."""
        return self._signal(values, is_live, 0.0)

    def emit(self, values: Any) -> Any:
        """Return signals in which dead units are a constant; integers are kept."""
        values = ops.convert_to_tensor(values)
        if not backend.is_float(values):
            return values
        return self._signal(values, is_live, _CONSTANT)

    def _signal(self, values: Any, live: Callable[[Any], Any], constant: float) -> Any:
        noise = self._noise(values)

        @ops.custom_gradient
        def signal(values: Any) -> tuple[Any, Callable[..., Any]]:
            def gradient(*args: Any, upstream: Any = None) -> Any:
                # PyTorch passes it by name, beside the arguments of `signal`.
                upstream = args[0] if upstream is None else upstream
                return ops.where(
                    ops.not_equal(upstream, 0), noise, ops.zeros_like(noise)
                )

            return ops.where(live(values), noise, ops.full_like(noise, constant)), (
                gradient
            )

        return signal(values)

    def _noise(self, values: Any) -> Any:
        """Return numbers in [0.5, 1) for the first example, [1.5, 2) for others."""
        self._calls += 1
        key = np.array([self._stream, self._calls]).astype(np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        uniform = generator.random(tuple(values.shape), np.float32)
        offset = np.full(len(uniform), 1.5, np.float32)
        offset[:1] = 0.5
        # Less than 1, for rounding to the next number must not meet the other range.
        noise = 0.49 * uniform + offset.reshape(-1, *[1] * (uniform.ndim - 1))
        return ops.cast(noise, values.dtype)


def is_live(values: Any) -> Any:
    """Return which units differ between examples, by more than rounding.

    Example:
        >>> live = is_live(ops.array([[1.0, 2.0], [1.0, 3.0]]))
        >>> ops.convert_to_numpy(live).tolist()
        [[False, True]]
    """
    first = values[:1]
    size = ops.maximum(ops.abs(values), ops.abs(first))
    rounding = size * ops.cast(_ROUNDING_STEPS * _epsilon(values.dtype), values.dtype)
    # Negated, so that what is not a number counts as different.
    different = ops.logical_not(ops.abs(values - first) <= rounding)
    return ops.any(different, axis=0, keepdims=True)


def _epsilon(dtype: Any) -> float:
    name = keras.backend.standardize_dtype(dtype)
    # NumPy does not know bfloat16, which has eight bits.
    return 2.0**-7 if name == "bfloat16" else float(np.finfo(name).eps)
