"""GraSP's Hessian, through every layer that normalises or interpolates, in float64."""

import contextlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import nn_impl

from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.criteria.data import Batch
from keras_initprune.criteria.training_loss import Objective, twice_differentiable

layers = keras.layers
F64 = {"dtype": "float64"}
TINY = {"epsilon": 1e-14, **F64}


def kernel():
    return layers.Dense(6, use_bias=False, name="kernel", **F64)


# A kernel before each is scale-invariant: twice the kernel gives the same outputs.
INVARIANT = {
    "batch": lambda: [kernel(), layers.BatchNormalization(**TINY)],
    "batch, masked": lambda: [
        layers.Masking(**F64),
        kernel(),
        layers.BatchNormalization(**TINY),
    ],
    "batch, synchronised": lambda: [
        kernel(),
        layers.BatchNormalization(synchronized=True, **TINY),
    ],
    "layer": lambda: [kernel(), layers.LayerNormalization(**TINY)],
    "layer, two axes": lambda: [
        kernel(),
        layers.LayerNormalization(axis=(1, 2), **TINY),
    ],
    "layer, by the variance": lambda: [
        kernel(),
        layers.LayerNormalization(rms_scaling=True, **TINY),
    ],
    "group": lambda: [kernel(), layers.GroupNormalization(3, **TINY)],
    "unit": lambda: [kernel(), layers.UnitNormalization(**F64)],
    "rms": lambda: [kernel(), layers.RMSNormalization(**TINY)],
    "spectral": lambda: [layers.SpectralNormalization(kernel(), **F64)],
}
OTHERS = {
    "normalization": lambda: [
        kernel(),
        layers.Normalization(mean=1.0, variance=4.0, **F64),
    ],
    "of your own": lambda: [kernel(), Standardised(**F64)],
}


class Flattened(layers.Flatten):
    """Ends a mask without a word."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return None


class Standardised(layers.Layer):
    def call(self, inputs):
        mean, variance = tf.nn.moments(inputs, [0, 1])
        return (inputs - mean) / tf.sqrt(variance)


@pytest.fixture(autouse=True)
def losses_in_float64():
    floatx = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(floatx)


class Derivatives:
    """Gradient g and product H g of a small network's loss, eagerly, in float64."""

    def __init__(self, between, rng, shape=(5, 4)):
        self.model = keras.Sequential(
            [
                keras.Input(shape, **F64),
                *between,
                layers.Activation("tanh", **F64),
                Flattened(**F64),
                layers.Dense(2, name="output", **F64),
            ]
        )
        self.model.compile("sgd", "mse", run_eagerly=True)
        weights = prunable_weights(self.model)
        self.objective = Objective(self.model, weights)
        x, y = rng.normal(size=(7, *shape)), rng.normal(size=(7, 2))
        x[0, -1] = 0  # Masked, where there is a mask.
        self.batches = [Batch(x, y, None)]
        self.values = {p: w.variable.numpy().copy() for p, w in weights.items()}
        self.gradient = self.objective.gradients(self.values, self.batches)
        self.product = self.objective.hessian_gradient_products(
            self.values, self.batches
        )

    def change_of_gradient(self, step=1e-5):
        ahead, behind = (
            self.objective.gradients(
                {p: v + sign * step * self.gradient[p] for p, v in self.values.items()},
                self.batches,
            )
            for sign in (1, -1)
        )
        return {p: (ahead[p] - behind[p]) / (2 * step) for p in ahead}


def assert_product_is_the_change_of_the_gradient(found, tolerance):
    for path, change in found.change_of_gradient().items():
        size = np.abs(change).max()
        assert size > 0
        assert np.abs(found.product[path] - change).max() < tolerance * size, path


pytestmark = pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")


@pytest.mark.parametrize("name", [*INVARIANT, *OTHERS])
def test_the_product_is_the_change_of_the_gradient(name, rng):
    found = Derivatives({**INVARIANT, **OTHERS}[name](), rng)
    assert_product_is_the_change_of_the_gradient(found, 1e-6)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_product_passes_through_interpolation(interpolation, rng):
    up = layers.UpSampling2D(2, interpolation=interpolation, **F64)
    between = [layers.Conv2D(2, 2, use_bias=False, **F64), up]
    # TensorFlow interpolates in float32.
    assert_product_is_the_change_of_the_gradient(
        Derivatives(between, rng, (4, 4, 2)), 1e-2
    )


@pytest.mark.parametrize("name", INVARIANT)
def test_a_scale_invariant_kernel_has_the_product_of_its_gradient(name, rng):
    found = Derivatives(INVARIANT[name](), rng)
    path = next(iter(found.values))
    weight, gradient = found.values[path], found.gradient[path]
    # L(c w) = L(w), differentiated twice: w' H = -g' for w, and 0 for all others.
    assert abs((weight * gradient).sum()) < 1e-9 * np.square(gradient).sum()
    assert (weight * found.product[path]).sum() == pytest.approx(
        -np.square(gradient).sum(), rel=1e-6
    )


def test_corrections_of_batch_renormalisation_are_constants(rng):
    layer = layers.BatchNormalization(renorm=True, **TINY)
    found = Derivatives([kernel(), layer], rng)
    weight, gradient = found.values["kernel/kernel"], found.gradient["kernel/kernel"]
    assert (weight * found.product["kernel/kernel"]).sum() == pytest.approx(
        -np.square(gradient).sum(), rel=1e-6
    )


def test_a_missing_second_derivative_is_named(rng):
    with pytest.raises(ValueError, match=r"TensorFlow has none of some .*SoftsignGrad"):
        Derivatives([kernel(), layers.Activation("softsign", **F64)], rng)


# Locality


def second_derivative_of_the_variance():
    """H (1, 1) of the variance of (1, 3), which adding to both does not change."""
    values = tf.constant([1.0, 3.0])
    with tf.GradientTape() as outer:
        outer.watch(values)
        with tf.GradientTape() as inner:
            inner.watch(values)
            variance = tf.nn.moments(values, [0])[1]
        gradient = inner.gradient(variance, values)
    return outer.gradient(gradient, values).numpy().tolist()


def test_moments_are_computed_in_float64(make_model, rng):
    values = rng.normal(1e3, size=(10_000, 2)).astype("float32")
    exact = values.astype("float64")
    with twice_differentiable(make_model()):
        mean, variance = tf.nn.moments(values, [0])
    assert (mean.numpy() == exact.mean(0).astype("float32")).all()
    assert (variance.numpy() == exact.var(0).astype("float32")).all()


def test_moments_are_exchanged_in_threads_that_score_alone(make_model):
    found, scoring, done = {}, threading.Event(), threading.Event()

    def other():
        found["before"] = second_derivative_of_the_variance()
        with twice_differentiable(make_model()):
            scoring.set()
            done.wait(60)
            found["scoring"] = second_derivative_of_the_variance()

    original = nn_impl.moments
    thread = threading.Thread(target=other)
    with contextlib.ExitStack() as stack:
        stack.enter_context(twice_differentiable(make_model()))
        assert second_derivative_of_the_variance() == [0.0, 0.0]
        thread.start()
        assert scoring.wait(60)
    assert second_derivative_of_the_variance() == [1.0, 1.0]
    done.set()
    thread.join()
    assert found == {"before": [1.0, 1.0], "scoring": [0.0, 0.0]}
    assert nn_impl.moments is original
