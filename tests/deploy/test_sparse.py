"""Sparse layers compute, train and save what dense layers with masks do."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_initprune import (
    DissipatingGradients,
    KStarts,
    backend,
    get_masks,
    install_masks,
    report,
    set_masks,
    sparsity,
)
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.deploy.fit_sparse import fit_sparse
from keras_initprune.deploy.sparse import worthwhile
from keras_initprune.deploy.sparse.conversion import to_dense
from keras_initprune.deploy.sparse.conversion import to_sparse as convert
from keras_initprune.deploy.sparse.layer import SparseDense

pytestmark = pytest.mark.not_on_jax(
    "Sparse layers: `to_sparse`, `to_dense`, `fit_sparse`"
)


def to_sparse(model, **arguments):
    """Convert whatever can be converted, however small."""
    return convert(model, threshold=0.0, smallest=1, **arguments)


@pytest.fixture
def pruned(make_model, rng):
    def make(**arguments):
        model = install_masks(make_model(**arguments))
        set_masks(
            model,
            {p: rng.random(w.shape) < 0.4 for p, w in prunable_weights(model).items()},
        )
        return model

    return make


numpy = ops.convert_to_numpy


def same(model, other, x):
    np.testing.assert_allclose(
        model.predict(x, verbose=0), other.predict(x, verbose=0), atol=1e-5
    )


# As many examples as units and fewer, one, and several axes in front.
@pytest.mark.parametrize("shape", [(4, 6), (2, 6), (1, 6), (2, 3, 6)])
@pytest.mark.parametrize("activation", [None, "relu", "softmax"])
def test_a_layer_computes_what_dense_does(rng, shape, activation):
    kernel = rng.normal(size=(6, 4)).astype("float32") * (rng.random((6, 4)) < 0.5)
    dense = keras.layers.Dense(4, activation)
    sparse = SparseDense(4, np.count_nonzero(kernel), activation)
    x = rng.normal(size=shape).astype("float32")
    dense.build(shape)
    sparse.build(shape)
    dense.set_weights([kernel, np.arange(4.0)])
    sparse.assign_kernel(kernel)
    sparse.bias.assign(np.arange(4.0))
    np.testing.assert_allclose(numpy(sparse(x)), numpy(dense(x)), rtol=1e-5, atol=1e-6)
    assert sparse.compute_output_shape(shape) == tuple(dense(x).shape)


@pytest.mark.parametrize("density", [0.005, 0.3])
def test_the_gradient_is_that_of_the_masked_kernel(rng, density):
    # In TensorFlow either way to sample the product: gathered, and from blocks that do
    # not divide it.
    if backend.NAME == "torch":
        from keras_initprune.deploy.sparse.torch_products import matrix_product
    else:
        from keras_initprune.deploy.sparse.tf_products import matrix_product
    mask = rng.random((150, 200)) < density
    kernel = rng.normal(size=mask.shape).astype("float32")
    x = rng.normal(size=(200, 3)).astype("float32")
    upstream = rng.normal(size=(150, 3)).astype("float32")
    indices = ops.convert_to_tensor(np.argwhere(mask))

    def total(given):
        y = matrix_product(given["x"], given["values"], indices, mask.shape)
        return ops.sum(y * ops.convert_to_tensor(upstream)), y

    given = {"x": x, "values": kernel[mask]}
    given = {name: ops.convert_to_tensor(value) for name, value in given.items()}
    _, y, gradients = backend.value_and_gradients(total, given)
    for found, expected in (
        (y, (kernel * mask) @ x),
        (gradients["x"], (kernel * mask).T @ upstream),
        (gradients["values"], (upstream @ x.T)[mask]),
    ):
        found = ops.convert_to_numpy(found)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_goes_on_as_with_masks(pruned, regression_data, optimizer, tmp_path):
    # Graphs are trained in the test of `fit_sparse`.
    model = pruned(optimizer=optimizer, run_eagerly=True)
    arguments = {"verbose": 0, "shuffle": False, "batch_size": 32}
    model.fit(*regression_data, epochs=1, **arguments)
    sparse = to_sparse(model)
    assert int(sparse.optimizer.iterations) == int(model.optimizer.iterations)
    expected = model.fit(*regression_data, epochs=2, **arguments).history["loss"]
    trained = sparse.fit(*regression_data, epochs=2, **arguments).history["loss"]
    np.testing.assert_allclose(trained, expected, rtol=1e-5)
    same(sparse, model, regression_data[0])
    sparse.save(tmp_path / "sparse.keras")
    loaded = keras.models.load_model(tmp_path / "sparse.keras")
    back = to_dense(loaded)
    assert sparsity(back) == sparsity(model)
    for again in (sparse, loaded, back, model):
        again.fit(*regression_data, epochs=1, **arguments)
        same(again, sparse, regression_data[0])


def test_the_optimizer_keeps_state_of_the_kept_weights_only(pruned):
    model = pruned()
    model.optimizer.build(model.trainable_variables)
    kept = sum(np.count_nonzero(mask) for mask in get_masks(model).values())
    biases = 16 + 8 + 3
    state = to_sparse(model).optimizer.variables
    slots = [variable for variable in state if len(variable.shape)]
    assert sum(np.prod(slot.shape) for slot in slots) == 2 * (kept + biases)


def test_a_prediction_sees_new_weights_however_they_come(pruned, regression_data):
    x = regression_data[0]
    # Several steps in one graph, as one; PyTorch has none.
    steps = 1 if backend.NAME == "torch" else 2
    sparse = to_sparse(pruned(steps_per_execution=steps))
    # Batches of other sizes are summed in another order.
    predict = functools.partial(sparse.predict, x, batch_size=16, verbose=0)
    before = predict()
    np.testing.assert_allclose(before, numpy(sparse(x)), rtol=1e-5, atol=1e-6)
    assert predict().tolist() == before.tolist()
    layer = sparse.layers[-1]
    layer.bias.assign([0.0, 0.0, 0.0])
    layer.values.assign(layer.values * 2)
    np.testing.assert_allclose(predict(), 2 * before, rtol=1e-5)
    sparse.set_weights(
        [weight * 0 for weight in sparse.get_weights()[:1]] + sparse.get_weights()[1:]
    )
    np.testing.assert_allclose(
        sparse.predict(x, verbose=0), numpy(sparse(x)), rtol=1e-5
    )


def test_a_new_pattern_of_the_same_values_is_seen(tmp_path):
    layer = SparseDense(2, 2, use_bias=False)
    model = keras.Sequential([keras.Input((2,)), layer])
    for pattern in (np.eye(2), np.eye(2)[::-1]):
        layer.assign_kernel(pattern)
        np.testing.assert_array_equal(numpy(model(np.eye(2))), pattern)
        model.save_weights(tmp_path / f"{pattern[0, 0]:g}.weights.h5")
    model.load_weights(tmp_path / "1.weights.h5")
    np.testing.assert_array_equal(numpy(model(np.eye(2))), np.eye(2))


def test_reports_count_what_sparse_layers_stand_for(pruned):
    model = pruned()
    sparse = to_sparse(model)
    assert report(sparse) == report(model)
    assert sparsity(sparse) == sparsity(model)


def test_half_precision_multiplies_in_single(pruned, regression_data):
    model = pruned(compiled=False)
    full = to_sparse(model)
    config = full.layers[0].get_config()
    halved = SparseDense.from_config({**config, "dtype": "mixed_bfloat16"})
    halved.build((None, 12))
    halved.set_weights(full.layers[0].get_weights())
    y = halved(regression_data[0])
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    np.testing.assert_allclose(
        numpy(ops.cast(y, "float32")),
        numpy(full.layers[0](regression_data[0])),
        atol=0.05,
    )


def test_what_does_not_pay_stays_dense(make_model, capsys):
    model = make_model(compiled=False)
    kernel = np.zeros((12, 16), "float32")
    kernel[0] = 1
    model.layers[0].kernel.assign(kernel)
    sparse = convert(model, smallest=192, verbose=1)
    assert [type(layer).__name__ for layer in sparse.layers] == [
        "SparseDense",
        "Dense",
        "Dense",
    ]
    said = capsys.readouterr().out
    assert "hidden_1: sparse, 16 weights" in said
    assert "output: stays as it is, its sparsity of 0.000 is below 0.9" in said
    convert(model, layers="hidden_1", smallest=192, verbose=1)
    assert "output: stays as it is, it is not among `layers`" in capsys.readouterr().out
    assert type(convert(model, smallest=193).layers[0]) is keras.layers.Dense
    # Measured, a few weights are never worth it.
    measured = convert(model, layers="hidden_1", measure=True)
    assert type(measured.layers[0]) is keras.layers.Dense


@pytest.mark.parametrize(
    "positions", [[[0, 1], [0, 0]], [[0, 0], [1, 2]], [[0, 0]] * 2]
)
def test_positions_that_are_none_are_refused(positions):
    if backend.NAME != "torch":
        pytest.skip("TensorFlow takes any order, and refuses positions outside itself.")
    layer = SparseDense(2, 2)
    layer.build((None, 2))
    layer.indices.assign(positions)
    with pytest.raises(ValueError, match="sorted, and none of them twice"):
        layer(np.ones((1, 2), "float32"))


@pytest.mark.tf_only
def test_smaller_kernels_pay_behind_sparse_ones():
    layers = [keras.layers.Dense(n) for n in (512, 32, 32)]
    model = keras.Sequential([keras.Input((512,)), *layers])
    for layer in layers[:2]:
        layer.kernel.assign(np.eye(*layer.kernel.shape))
    assert [type(layer) for layer in convert(model).layers] == [
        SparseDense,
        SparseDense,
        keras.layers.Dense,
    ]
    # Alone it stays.
    assert type(convert(model, layers=layers[1].name).layers[1]) is keras.layers.Dense


def test_other_layers_stay_and_branches_hold(rng, capsys):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(2, 3, activation="relu")(inputs)
    x = keras.layers.Flatten()(x)
    shared = keras.layers.Dense(72, activation="relu", kernel_regularizer="l2")
    normed = keras.layers.Dense(4, kernel_constraint=keras.constraints.UnitNorm())
    model = keras.Model(
        inputs, normed(keras.layers.add([shared(x), shared(shared(x))]))
    )
    shared.kernel.assign(shared.kernel * (rng.random((72, 72)) < 0.1))
    # With a compiler, which has no sparse products.
    model.compile("adam", "mse", jit_compile=True)
    sparse = to_sparse(model, verbose=1)
    assert "there are no sparse products for Conv2D" in capsys.readouterr().out
    kinds = [type(layer).__name__ for layer in sparse.layers if layer.weights]
    assert kinds == ["Conv2D", "SparseDense", "Dense"]
    assert not sparse.jit_compile
    model.run_eagerly = True  # XLA would take seconds.
    images = rng.random((5, 8, 8, 1), np.float32)
    same(sparse, model, images)
    targets = np.zeros((5, 4))
    assert sparse.evaluate(images, targets, verbose=0) == pytest.approx(
        model.evaluate(images, targets, verbose=0), rel=1e-5
    )


@pytest.mark.parametrize(
    ("device", "pays"),
    [
        ("/job:localhost/replica:0/task:0/device:CPU:0", True),
        ("/job:localhost/replica:0/task:0/device:GPU:1", False),
        ("/gpu:0", False),
        ("", True),
    ],
)
def test_the_rule_leaves_layers_dense_on_a_gpu(device, pays):
    assert (worthwhile.device_obstacle(device) is None) == pays


class TestErrors:
    def test_subclassed_models(self, make_model):
        class Mine(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner = keras.layers.Dense(2)

            def call(self, inputs):
                return self.inner(inputs)

        model = Mine()
        model(np.ones((1, 2)))
        with pytest.raises(ValueError, match="Sequential or Functional"):
            to_sparse(model)

    def test_matrix_optimizers(self, make_model):
        with pytest.raises(ValueError, match="optimizer=Muon"):
            to_sparse(make_model(optimizer="muon"))

    @pytest.mark.parametrize(
        "arguments",
        [
            {"threshold": 1.5},
            {"threshold": float("nan")},
            {"threshold": "0.9"},
            {"smallest": 0},
            {"smallest": 0.5},
            {"batch_size": -1},
            {"batch_size": 2.5},
        ],
    )
    def test_numbers(self, arguments, make_model):
        ((name, value),) = arguments.items()
        with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
            convert(make_model(), **arguments)

    def test_nothing_sparse(self, make_model):
        with pytest.raises(ValueError, match="no sparse layers"):
            to_dense(make_model())

    def test_other_kernels(self):
        layer = SparseDense(2, 2)
        layer.build((None, 2))
        with pytest.raises(ValueError, match="1 kept"):
            layer.assign_kernel(np.array([[1.0, 0.0], [0.0, 0.0]]))

    def test_fit_sparse_before_it_trains(self, make_model, regression_data):
        model = make_model()
        before = model.get_weights()
        pruning = KStarts(k=2, sparsity=0.5, epochs=1)
        with pytest.raises(ValueError, match="must exceed 1"):
            fit_sparse(model, *regression_data, epochs=1, callbacks=[pruning])
        with pytest.raises(ValueError, match="at least one pruning callback"):
            fit_sparse(model, *regression_data, epochs=2, callbacks=[])
        for epochs, first in ((2.5, 0), ("3", 0), (3, -1), (3, 0.5)):
            with pytest.raises(ValueError, match=r"Received: (initial_)?epochs?="):
                fit_sparse(
                    model,
                    *regression_data,
                    epochs=epochs,
                    callbacks=[pruning],
                    initial_epoch=first,
                )
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


# A number of epochs, or a share of all, as callbacks have by default.
@pytest.mark.parametrize("pruned_for", [2, 0.5])
def test_fit_sparse_is_fit_at_another_price(pruned_for, make_model, regression_data):
    arguments = {"epochs": 4, "verbose": 0, "shuffle": False}
    pruning = DissipatingGradients(sparsity=0.5, epochs=pruned_for)
    model = make_model(run_eagerly=True)
    expected = model.fit(*regression_data, callbacks=[pruning], **arguments)
    given = make_model()
    pruning = DissipatingGradients(sparsity=0.5, epochs=pruned_for)
    sparse, history = fit_sparse(
        given, *regression_data, callbacks=[pruning], convert=to_sparse, **arguments
    )
    assert history.epoch == expected.epoch
    for name, values in expected.history.items():
        np.testing.assert_allclose(history.history[name], values, rtol=1e-5)
    assert isinstance(sparse.layers[0], SparseDense)
    same(sparse, model, regression_data[0])


def test_a_converted_model_adds_and_normalises_as_before(rng):
    inputs = keras.Input((6,))
    normal = keras.layers.Normalization()
    normal.adapt(rng.normal(3.0, 2.0, size=(50, 6)))
    hidden = keras.layers.Dense(6)(normal(inputs))
    model = keras.Model(inputs, keras.layers.Dense(6)(hidden + inputs))
    x = rng.normal(size=(4, 6)).astype("float32")
    same(model, to_sparse(model), x)
    same(model, to_dense(to_sparse(model)), x)


@pytest.mark.filterwarnings("ignore:Training ended after epoch 1")
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_fit_sparse_stops_where_a_callback_does(epoch, make_model, regression_data):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, now, logs=None):
            self.model.stop_training = now == epoch

    pruning = DissipatingGradients(sparsity=0.5, epochs=2)
    _, history = fit_sparse(
        make_model(run_eagerly=True),
        *regression_data,
        epochs=4,
        callbacks=[pruning, Stop()],
        convert=to_sparse,
        verbose=0,
    )
    assert history.epoch == list(range(epoch + 1))


def test_logs_count_what_sparse_layers_stand_for(make_model, regression_data):
    callbacks = [DissipatingGradients(sparsity=0.9, epochs=1)]
    # The output layer stays dense, and has a mask.
    _, history = fit_sparse(
        make_model(run_eagerly=True),
        *regression_data,
        epochs=3,
        callbacks=callbacks,
        convert=lambda model: to_sparse(model, layers="hidden_1"),
        verbose=0,
    )
    for name in ("sparsity", "sparsity/hidden_1", "sparsity/output"):
        first, *others = history.history[name]
        assert others == [first] * 2, name
