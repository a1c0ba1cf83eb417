"""The training loss as a function of the prunable weights, and its derivatives."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops
from numpy.typing import NDArray

from keras_initprune import backend
from keras_initprune.backend.keras_internals import CompileLoss
from keras_initprune.constraints.weights import PrunableWeight
from keras_initprune.criteria.data import Batch
from keras_initprune.paths.substitutes import own_attribute, replaced

Arrays = dict[str, NDArray]

_NO_LOSS = (
    "The criterion needs a loss, and the model is not compiled with one. Pass `loss`, "
    "or compile the model with a loss. Received: loss=None"
)


class Objective:
    """The training loss L(w) of a model, averaged over examples.

    The model runs as in training by default, so with the statistics of the batch where
    it normalises, but nothing of it changes: not its weights, nor its moving
    statistics, random seeds or metrics. What half precision would lose is computed in
    float32, and moments of normalisation in float64.

    Where the layers compute in half precision, or `temperature` is not 1, attributes of
    layers change while the model runs: no other thread may call it meanwhile.

    Args:
        model: A built model.
        weights: The weights that L is a function of, by tensor path.
        loss: What `compile` takes as `loss`; losses that the model adds itself, such as
            regularisation, are added. Defaults to the compiled model's.
        temperature: The outputs are divided by it, before their activation where the
            output layer has one. Defaults to 1.
        training: Whether the model runs as in training. Defaults to True; else it
            normalises by moving statistics and drops nothing.

    Raises:
        ValueError: If `loss` is None and the model is not compiled with one.
    """

    def __init__(
        self,
        model: keras.Model,
        weights: Mapping[str, PrunableWeight],
        loss: Any = None,
        temperature: float = 1.0,
        training: bool = True,
    ) -> None:
        self._model = model
        self._training = training
        self._temperature = temperature
        self._weights = dict(weights)
        self._compile_loss = _compile_loss(model, loss)
        # A loss of its own is what `compute_loss` may be overridden for; a loss that is
        # given replaces it.
        self._overridden = loss is None and (
            type(model).compute_loss is not keras.Model.compute_loss
        )
        eager = getattr(model, "run_eagerly", False)
        trace: Callable[..., Any] = (lambda f: f) if eager else backend.compiled
        self._gradients = trace(self._gradients_of_batch)
        self._products = trace(self._products_of_batch)

    def loss(self, values: Mapping[str, Any], batch: Batch) -> Any:
        """Return L at `values` on one batch, as a scalar tensor."""
        model = self._model
        state = [(variable, variable.value) for variable in model.variables]
        with (
            computing_in(model, "float32", instead_of=("float16", "bfloat16")),
            replaced(model, "_compile_loss", self._compile_loss),
            twice_differentiable(model),
            backend.random_numbers_kept(),
            _cooled(model, self._temperature),
            keras.StatelessScope(
                state, collect_losses=True, initialize_variables=False
            ) as scope,
        ):
            for path, value in values.items():
                weight = self._weights[path]
                value = ops.cast(value, weight.layer.compute_dtype)
                scope.add_update((weight.variable, value))
            x, y, sample_weight = batch
            outputs = self._cool(model(x, training=self._training))
            if self._overridden:
                return model._compute_loss(x, y, outputs, sample_weight)
            if self._compile_loss is None and not model.losses:
                raise ValueError(_NO_LOSS)
            return keras.Model.compute_loss(model, x, y, outputs, sample_weight)

    def _cool(self, outputs: Any) -> Any:
        if _output_layers(self._model):
            return outputs
        return keras.tree.map_structure(lambda o: o / self._temperature, outputs)

    def gradients(
        self, values: Mapping[str, NDArray], batches: Sequence[Batch]
    ) -> Arrays:
        """Return dL/dw at `values`, averaged over the examples of all batches."""
        self._check_targets(batches)
        tensors = _tensors(values)
        return _mean(lambda b: self._gradients(tensors, b), batches, values)

    def hessian_gradient_products(
        self, values: Mapping[str, NDArray], batches: Sequence[Batch]
    ) -> Arrays:
        """Return H g at `values`: g and the Hessian H of L over all batches."""
        tensors, gradients = map(_tensors, (values, self.gradients(values, batches)))
        try:
            return _mean(
                lambda b: self._products(tensors, gradients, b), batches, values
            )
        except LookupError as error:
            raise ValueError(
                f"Second derivatives are needed, and TensorFlow has none of some "
                f"operation of {self._model.name!r}. Choose another method. {error}"
            ) from error

    def _check_targets(self, batches: Sequence[Batch]) -> None:
        compares = self._compile_loss is not None and not self._overridden
        if compares and any(batch.y is None for batch in batches):
            raise ValueError(
                "`data` must hold the targets that the loss compares outputs with: "
                "pass `(x, y)`, or `(x, x)` to an autoencoder. Received: inputs alone"
            )

    def _gradients_of_batch(self, values: dict[str, Any], batch: Batch) -> Any:
        return backend.value_and_gradients(
            lambda values: (self.loss(values, batch), None), values
        )[2]

    def _products_of_batch(
        self, values: dict[str, Any], vectors: dict[str, Any], batch: Batch
    ) -> Any:
        # H v is the gradient of the number v . dL/dw (Pearlmutter 1994).
        def product(values: dict[str, Any]) -> tuple[Any, None]:
            gradients = self._gradients_of_batch(values, batch)
            total = sum(ops.sum(vectors[path] * gradients[path]) for path in values)
            return total, None

        return backend.value_and_gradients(product, values)[2]


@contextlib.contextmanager
def exchanged(
    layers: Iterable[keras.Layer],
    substitutes: Callable[[keras.Layer], Mapping[str, Any]],
) -> Iterator[None]:
    """Put substitutes, by name, in place of the attributes of layers for a while."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            for name, value in substitutes(layer).items():
                stack.enter_context(replaced(layer, name, value))
        yield


def computing_in(
    model: keras.Model, dtype: str, instead_of: Sequence[str] | None = None
) -> contextlib.AbstractContextManager[None]:
    """Have the layers of a model compute in another type of float for a while.

    With `instead_of` only those that compute in one of these types are changed.
    """
    policy = keras.DTypePolicy(dtype)
    layers = (
        layer
        for layer in model._flatten_layers(include_self=True)
        if instead_of is None or layer.compute_dtype in instead_of
    )
    return exchanged(layers, lambda layer: {"_dtype_policy": policy})


@contextlib.contextmanager
def twice_differentiable(model: keras.Model) -> Iterator[None]:
    """Let gradients pass where TensorFlow or Keras stop those of second order.

    `tf.nn.moments` takes the mean within the variance as a constant, and
    `SpectralNormalization` its singular vectors. What that leaves out of a gradient is
    nothing (of a singular vector, once it has converged), but it is not nothing in the
    gradient of a gradient. Bilinear interpolation has no gradient of its gradient, and
    that of `UnitNormalization` is NaN at 0. What a layer holds constant by definition,
    as the corrections of batch renormalisation, stays so.

    `tf.nn.moments` is exchanged while any thread is here, and works as ever in the
    others; moments are computed in float64 and rounded once. Spectral and unit
    normalisation and interpolation are exchanged in the layers, which other threads
    see, but it changes no outputs.
    """
    layers = model._flatten_layers(include_self=False)
    with exchanged(layers, _twice_differentiable_parts), backend.own_moments():
        yield


def _twice_differentiable_parts(layer: keras.Layer) -> dict[str, Callable[..., Any]]:
    """Return what to put in place of a layer's attributes."""
    if isinstance(layer, keras.layers.SpectralNormalization):
        return {"normalized_weights": _normalized_weights(layer)}
    if isinstance(layer, keras.layers.UnitNormalization):
        return {"call": _unit_normalisation(layer)}
    if isinstance(layer, keras.layers.UpSampling2D):
        return {"call": backend.linear(layer.call)}
    return {}


def _normalized_weights(
    layer: keras.layers.SpectralNormalization,
) -> Callable[[], tuple[Any, Any]]:
    def normalized_weights() -> tuple[Any, Any]:
        matrix = ops.reshape(layer.kernel, [-1, layer.kernel.shape[-1]])
        right = layer.vector_u.value
        for _ in range(layer.power_iterations):
            left = ops.normalize(ops.matmul(right, ops.transpose(matrix)), None)
            right = ops.normalize(ops.matmul(left, matrix), None)
        largest = ops.matmul(ops.matmul(left, matrix), ops.transpose(right))
        return right, ops.reshape(matrix / largest, layer.kernel.shape)

    return normalized_weights


def _unit_normalisation(layer: keras.layers.UnitNormalization) -> Callable[..., Any]:
    def call(inputs: Any, **kwargs: Any) -> Any:
        squares = ops.sum(ops.square(inputs), layer.axis, keepdims=True)
        # The same factors as Keras', whose own are infinite at 0 on their way.
        is_zero = squares < 1e-24
        factors = ops.rsqrt(ops.where(is_zero, ops.ones_like(squares), squares))
        return inputs * ops.where(is_zero, 1e12, factors)

    return call


def _cooled(
    model: keras.Model, temperature: float
) -> contextlib.AbstractContextManager[None]:
    """Divide what enters the activations of the output layers."""

    def substitutes(layer: keras.Layer) -> dict[str, Callable[..., Any]]:
        activation = layer.activation
        return {
            "activation": lambda values, *args: activation(values / temperature, *args)
        }

    return exchanged(_output_layers(model), substitutes)


def _output_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers that compute the outputs, if all of these have activations."""
    outputs = getattr(model, "outputs", None) or ()
    layers = [output._keras_history.operation for output in outputs]
    # Recurrent layers only pass on the activation of their cell.
    known = all(callable(own_attribute(layer, "activation")) for layer in layers)
    return list(dict.fromkeys(layers)) if known else []


def _compile_loss(model: keras.Model, loss: Any) -> Any:
    """Return a loss of our own, as the model's would be built by its first use."""
    names = getattr(model, "output_names", None)
    if loss is not None:
        return CompileLoss(loss, output_names=names)
    compiled = model._compile_loss
    if compiled is not None:
        return CompileLoss(
            compiled._user_loss, compiled._user_loss_weights, output_names=names
        )
    if not getattr(model, "compiled", False):
        raise ValueError(_NO_LOSS)
    return None


def _mean(
    function: Callable[[Batch], Any], batches: Sequence[Batch], names: Iterable[str]
) -> Arrays:
    """Return the mean of a function's arrays over all examples, in the names' order."""
    total = sum(batch.size for batch in batches)
    mean: Arrays = {}
    for batch in batches:
        for path, tensor in function(batch).items():
            share = ops.convert_to_numpy(tensor) * (batch.size / total)
            mean[path] = mean[path] + share if path in mean else share
    # JAX sorts what a compiled function returns by its names.
    return {name: mean[name] for name in names}


def _tensors(arrays: Mapping[str, NDArray]) -> dict[str, Any]:
    return {path: ops.convert_to_tensor(array) for path, array in arrays.items()}
