"""A dense layer that holds only the kept weights."""

import uuid
import weakref
import zlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initprune import backend
from keras_initprune.validation import check_boolean, check_positive_integer

# Not the name of a mask's, which would be taken for one.
_CHECKSUM = "pattern_checksum"
_HALF = ("float16", "bfloat16")
_ELEMENTWISE = (
    keras.activations.elu,
    keras.activations.gelu,
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.sigmoid,
    keras.activations.silu,
    keras.activations.softplus,
    keras.activations.tanh,
)


@keras.saving.register_keras_serializable(package="keras_initprune")
class SparseDense(keras.layers.Layer):
    """Computes what `Dense` does, with a sparse kernel of a fixed pattern.

    `activation(inputs @ kernel + bias)`, where the kernel is held in compressed sparse
    rows: trained, saved and multiplied are its non-zeros only, and the optimizer's
    state is of their size. The products are TensorFlow's or PyTorch's, in float32 or
    float64; under a half-precision policy they are taken in float32. `to_sparse` makes
    such layers out of pruned `Dense` ones.

    XLA has no sparse products, so a model with such a layer compiles without it.

    Args:
        units: Number of output units.
        nonzeros: Number of weights that the kernel keeps.
        activation: Activation function. Defaults to none.
        use_bias: Whether to add a bias. Defaults to True.
        bias_initializer: Initializer of the bias. Defaults to zeros.
        kernel_regularizer: Regularizer of the kept weights. Defaults to none.
        bias_regularizer: Regularizer of the bias. Defaults to none.
        activity_regularizer: Regularizer of the output. Defaults to none.
        kernel_constraint: Constraint on the kept weights, which sees them as a vector.
            Defaults to none.
        bias_constraint: Constraint on the bias. Defaults to none.

    Input shape:
        `(batch, ..., inputs)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If an argument is invalid, or the kernel that the inputs need has
            fewer than `nonzeros` weights.

    Example:
        >>> layer = SparseDense(2, nonzeros=2, use_bias=False)
        >>> layer.build((None, 3))
        >>> layer.assign_kernel(np.array([[5.0, 0.0], [0.0, 0.0], [0.0, 7.0]]))
        >>> ops.convert_to_numpy(layer(np.ones((1, 3), "float32"))).tolist()
        [[5.0, 7.0]]
    """

    def __init__(
        self,
        units: int,
        nonzeros: int,
        activation: Any = None,
        use_bias: bool = True,
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = check_positive_integer(units, "units")
        self.nonzeros = check_positive_integer(nonzeros, "nonzeros")
        self.activation = keras.activations.get(activation)
        self.use_bias = check_boolean(use_bias, "use_bias")
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.supports_masking = True
        self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        """Add the weights; the kernel is zero until it is assigned."""
        inputs = input_shape[-1]
        if inputs is None or self.nonzeros > inputs * self.units:
            raise ValueError(
                "The inputs of `SparseDense` must have a last axis of known size with "
                f"room for {self.nonzeros} weights. Received: input_shape={input_shape}"
            )
        self.input_size = int(inputs)
        self.values = self.add_weight(
            name="values",
            shape=(self.nonzeros,),
            initializer="zeros",
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            # Half precision has no sparse products.
            autocast=False,
        )
        self.indices = self.add_weight(
            name="indices",
            shape=(self.nonzeros, 2),
            initializer=self._first_positions,
            dtype="int64",
            trainable=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self._cache_name = f"keras_initprune/{uuid.uuid4()}"
        weakref.finalize(self, _forget, self._cache_name).atexit = False

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's outputs.

        Args:
            inputs: Tensor of shape `(batch, ..., inputs)`.
            training: While training the kernel changes with every call, so that
                nothing of it is kept for the next.

        Raises:
            ValueError: If Keras runs on JAX.
        """
        backend.check_tensorflow(
            "The products of `SparseDense` are", "`to_dense` makes it dense", True
        )
        compute = "float32" if self.compute_dtype in _HALF else self.compute_dtype
        is_matrix = len(inputs.shape) == 2
        rows = inputs if is_matrix else ops.reshape(inputs, (-1, self.input_size))
        columns = self._product(ops.transpose(ops.cast(rows, compute)), training)
        columns = ops.cast(columns, self.compute_dtype)
        if self.bias is not None:
            # Not `ops.add`: where there are as many units as examples it takes the
            # column for a row (Keras 3.15).
            columns = columns + ops.expand_dims(self.bias, 1)
        # Transposed back as late as possible: between two sparse layers TensorFlow then
        # finds a transpose next to its inverse, and leaves both out.
        if self.activation in _ELEMENTWISE:
            outputs = ops.transpose(self.activation(columns))
        else:
            outputs = self.activation(ops.transpose(columns))
        if is_matrix:
            return outputs
        return ops.reshape(outputs, (*ops.shape(inputs)[:-1], self.units))

    @property
    def kept_and_all(self) -> tuple[int, int]:
        """How many weights the kernel keeps, and of how many, for the logs of `fit`."""
        return self.nonzeros, self.units * self.input_size

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of the outputs."""
        return (*input_shape[:-1], self.units)

    def assign_kernel(self, kernel: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Take over the kept weights of a dense kernel and their pattern.

        Args:
            kernel: Array of shape `(inputs, units)`.
            mask: Boolean array of the same shape with `nonzeros` entries True, for
                kernels in which kept weights may be zero. Defaults to `kernel != 0`.

        Raises:
            ValueError: If shape or number of non-zeros are not the layer's.
        """
        kept = (kernel != 0 if mask is None else mask).T
        count = int(np.count_nonzero(kept))
        if kept.shape != (self.units, self.input_size) or count != self.nonzeros:
            raise ValueError(
                f"`kernel` must be of shape {(self.input_size, self.units)} and keep "
                f"{self.nonzeros} weights. Received: shape {kernel.shape} with "
                f"{count} kept"
            )
        self._assign_pattern(np.argwhere(kept))
        self.values.assign(kernel.T[kept])

    def mask(self) -> np.ndarray:
        """Return the pattern: a boolean array of shape `(inputs, units)`."""
        return self._spread(np.ones(self.nonzeros, bool))

    def kernel(self) -> np.ndarray:
        """Return the kernel as a dense array of shape `(inputs, units)`."""
        return self._spread(ops.convert_to_numpy(self.values))

    def save_own_variables(self, store: Any) -> None:
        """Write the weights as compressed sparse rows: 8 bytes per kept weight."""
        indices = ops.convert_to_numpy(self.indices)
        columns = indices[:, 1].astype(np.int32)
        row_splits = np.searchsorted(indices[:, 0], np.arange(self.units + 1))
        store["values"] = ops.convert_to_numpy(self.values)
        store["columns"], store["row_splits"] = columns, row_splits.astype(np.int64)
        # Weights files have no checksums of their own.
        store[_CHECKSUM] = np.array(_checksum(columns, row_splits), np.uint32)
        if self.bias is not None:
            store["bias"] = ops.convert_to_numpy(self.bias)

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` has written.

        Raises:
            ValueError: If it is that of another layer, or damaged.
        """
        row_splits, columns = (np.asarray(store[n]) for n in ("row_splits", "columns"))
        lengths = np.diff(row_splits)
        if len(lengths) != self.units or len(columns) != self.nonzeros:
            raise ValueError(
                f"The weights of {self.name!r} must be of {self.units} units and keep "
                f"{self.nonzeros} weights. Received: {len(lengths)} units with "
                f"{len(columns)} weights"
            )
        saved = int(store[_CHECKSUM]) if _CHECKSUM in store else None
        # Who meant harm has made the checksum fit: products trust the columns.
        if saved != _checksum(columns, row_splits) or not (
            ((columns >= 0) & (columns < self.input_size)).all()
        ):
            raise ValueError(
                f"The pattern of {self.name!r} in the file is damaged: its checksum "
                "differs, or it reaches beyond the kernel."
            )
        rows = np.repeat(np.arange(self.units), lengths)
        self._assign_pattern(np.stack([rows, columns], axis=1).astype(np.int64))
        self.values.assign(np.asarray(store["values"]))
        if self.bias is not None:
            self.bias.assign(np.asarray(store["bias"]))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "units": self.units,
            "nonzeros": self.nonzeros,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": keras.regularizers.serialize(
                self.activity_regularizer
            ),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }

    def _product(self, columns: Any, training: bool | None) -> Any:
        values = ops.cast(self.values, columns.dtype)
        indices = ops.convert_to_tensor(self.indices)
        kernel = values, indices, (self.units, self.input_size)
        if backend.NAME == "torch":
            from keras_initprune.deploy.sparse import torch_products

            return torch_products.matrix_product(columns, *kernel)
        from keras_initprune.deploy.sparse import tf_products

        keep = not training and tf_products.keeps_matrices()
        name = self._cache_name if keep else None
        return tf_products.matrix_product(columns, *kernel, name)

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Return an array of the kernel's shape, zero where no weight is kept."""
        spread = np.zeros((self.input_size, self.units), values.dtype)
        units, inputs = ops.convert_to_numpy(self.indices).T
        spread[inputs, units] = values
        return spread

    def _assign_pattern(self, indices: np.ndarray) -> None:
        self.indices.assign(indices)
        # A kept matrix is found by its values, which may be the same in other places.
        _forget(self._cache_name)

    def _first_positions(self, shape: Any, dtype: Any = None) -> np.ndarray:
        positions = np.unravel_index(
            np.arange(self.nonzeros), (self.units, self.input_size)
        )
        return np.stack(positions, axis=1).astype(np.int64)


def _forget(name: str) -> None:
    if backend.NAME == "tensorflow":
        from keras_initprune.deploy.sparse import tf_products

        tf_products.forget(name)


def _checksum(columns: np.ndarray, row_splits: np.ndarray) -> int:
    content = columns.astype(np.int32).tobytes() + row_splits.astype(np.int64).tobytes()
    return zlib.crc32(content)
