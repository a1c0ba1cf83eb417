"""Criteria before training: each against its formula, by hand and by its laws."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_initprune import criteria, score_weights
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.criteria.data import Batch, collect_batches
from keras_initprune.criteria.synflow import LinearNetwork
from keras_initprune.criteria.training_loss import Objective

NEED_DATA = [n for n in criteria.CRITERIA if criteria.get(n).needs_data]


def linear_unit():
    """y = 3 a + b; for (a, b) = (1, 2) and the target 4: L = 1, dL/dw = (2, 4)."""
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, use_bias=False, name="unit")]
    )
    model.set_weights([np.array([[3.0], [1.0]])])
    model.compile("sgd", "mse", run_eagerly=True)
    return model, (np.array([[1.0, 2.0]]), np.array([[4.0]]))


def residual_net():
    """A small residual network with batch normalisation and dropout, compiled."""
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    y = keras.layers.Conv2D(8, 3, padding="same", name="branch_1")(x)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.Activation("relu")(y)
    y = keras.layers.Conv2D(8, 3, padding="same", name="branch_2")(y)
    y = keras.layers.BatchNormalization()(y)
    x = keras.layers.Activation("relu")(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.5)(x))
    outputs = keras.layers.Dense(3, activation="softmax", name="output")(x)
    model = keras.Model(inputs, outputs)
    # Eagerly: one pass costs less than tracing it.
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


@pytest.fixture
def image_data(rng):
    x = rng.normal(size=(24, 8, 8, 4)).astype("float32")
    return x, rng.integers(0, 3, 24)


def hidden_values(model):
    return {path: w.numpy() for path, w in prunable_weights(model).items()}


# By hand


@pytest.mark.parametrize(
    ("method", "scores"),
    [
        ("magnitude", [3.0, 1.0]),
        ("snip", [6.0, 4.0]),
        ("iterative_snip", [6.0, 4.0]),
        ("force", [6.0, 4.0]),
        # H = 2 x x', so H g = 2 x (x . g) = (20, 40).
        (criteria.GraSP(temperature=1.0), [60.0, 40.0]),
        # Of y / 2 the residual is -3 / 2: g = (-1.5, -3), H = x x' / 2 and
        # H g = (-3.75, -7.5).
        (criteria.GraSP(temperature=2.0), [-11.25, -7.5]),
        ("synflow", [3.0, 1.0]),
    ],
)
def test_scores_of_a_linear_unit(method, scores):
    model, data = linear_unit()
    found = score_weights(model, method, data)
    assert np.allclose(found["unit/kernel"].ravel(), scores)


def test_synflow_adds_up_the_paths_that_a_weight_lies_on():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(2, activation="relu", name="a"),
            keras.layers.Dense(1, name="b"),
        ]
    )
    first, second = np.array([[1.0, -2.0], [3.0, 0.0]]), np.array([[-1.0], [5.0]])
    model.set_weights([first, np.array([7.0, -7.0]), second, np.ones(1)])
    scores = score_weights(model, "synflow")
    # Paths: 1 * 1, 2 * 5, 3 * 1, 0 * 5.
    assert scores["a/kernel"].tolist() == [[1.0, 10.0], [3.0, 0.0]]
    assert scores["b/kernel"].tolist() == [[4.0], [10.0]]


# Against numerical derivatives


def loss_in_numpy(values, x, y):
    """Mean squared error of a tanh perceptron of two layers without biases."""
    first, second = values
    return np.mean((np.tanh(x @ first) @ second - y) ** 2)


@pytest.fixture
def tanh_net(rng):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, activation="tanh", use_bias=False, name="a"),
            keras.layers.Dense(2, use_bias=False, name="b"),
        ]
    )
    model.compile("sgd", "mse")
    return model, (rng.normal(size=(12, 5)), rng.normal(size=(12, 2)))


def test_snip_is_the_derivative_with_respect_to_the_mask(tanh_net):
    model, data = tanh_net
    scores = list(score_weights(model, "snip", data).values())
    values = [w.astype("float64") for w in model.get_weights()]
    step = 1e-5
    for tensor, (value, score) in enumerate(zip(values, scores, strict=True)):
        for index in np.ndindex(value.shape):
            losses = []
            for mask in (1 + step, 1 - step):
                shifted = [v.copy() for v in values]
                shifted[tensor][index] *= mask
                losses.append(loss_in_numpy(shifted, *data))
            slope = (losses[0] - losses[1]) / (2 * step)
            assert score[index] == pytest.approx(abs(slope), rel=1e-3, abs=1e-6)


def test_the_hessian_gradient_product_is_the_change_of_the_gradient(tanh_net):
    model, data = tanh_net
    objective = Objective(model, prunable_weights(model))
    batches = collect_batches(data, batch_size=5)
    values = hidden_values(model)
    gradient = objective.gradients(values, batches)
    product = objective.hessian_gradient_products(values, batches)
    step = 1e-2
    ahead, behind = (
        objective.gradients(
            {p: values[p] + sign * step * gradient[p] for p in values}, batches
        )
        for sign in (1, -1)
    )
    for path in values:
        change = (ahead[path] - behind[path]) / (2 * step)
        assert np.allclose(product[path], change, rtol=1e-2, atol=1e-4)


# Masked networks


def test_iterative_snip_forgets_what_is_masked_and_force_does_not(tanh_net):
    model, data = tanh_net
    weights = prunable_weights(model)
    problem = criteria.Problem(model, weights, collect_batches(data))
    masks = {path: np.ones(w.shape, bool) for path, w in weights.items()}
    masks["a/kernel"][:2] = False
    iterative = criteria.get("iterative_snip").score(problem, masks)["a/kernel"]
    force = criteria.get("force").score(problem, masks)["a/kernel"]
    assert (iterative[:2] == 0).all()
    assert (force[:2] > 0).all()
    assert np.allclose(iterative[2:], force[2:])


def test_scores_are_those_of_the_masked_network(tanh_net):
    model, data = tanh_net
    weights = prunable_weights(model)
    masks = {path: np.ones(w.shape, bool) for path, w in weights.items()}
    masks["a/kernel"][:2] = False
    problem = criteria.Problem(model, weights, collect_batches(data))
    found = criteria.get("snip").score(problem, masks)
    value = model.layers[0].kernel.numpy()
    value[:2] = 0
    model.layers[0].kernel.assign(value)
    expected = score_weights(model, "snip", data)
    assert all(np.allclose(found[path], expected[path]) for path in found)


# SynFlow's laws


def assert_conserved(model):
    weights = prunable_weights(model)
    network = LinearNetwork(model, weights)
    values = hidden_values(model)
    flow = network.flow(values)
    for path, score in network.scores(values).items():
        assert (score >= 0).all()
        assert score.sum() == pytest.approx(flow, rel=1e-9), path


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_synflow_is_conserved_from_layer_to_layer(make_model, activation):
    model = make_model()
    for layer in model.layers:
        layer.activation = keras.activations.get(activation)
    model.layers[0].bias.assign(np.ones(16))
    assert_conserved(model)


def test_synflow_is_conserved_at_every_hidden_unit(make_model):
    scores = list(score_weights(make_model(), "synflow").values())
    for arriving, leaving in itertools.pairwise(scores):
        assert np.allclose(arriving.sum(axis=0), leaving.sum(axis=1))


def test_synflow_is_conserved_in_convolutions_and_normalisation():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.DepthwiseConv2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.layers[1].moving_variance.assign([1.0, 4.0, 9.0, 0.5])
    assert_conserved(model)


def test_synflow_does_not_overflow_where_float32_would():
    layers = [
        keras.layers.Dense(64, kernel_initializer="ones", name=f"layer_{i}")
        for i in range(25)
    ]
    model = keras.Sequential([keras.Input((64,)), *layers])
    flow = LinearNetwork(model, prunable_weights(model)).flow(hidden_values(model))
    # Every layer multiplies by 64, and 64 outputs are added up.
    assert flow == 64.0**26 > float(np.finfo("float32").max)
    assert_conserved(model)


def test_synflow_says_so_when_float64_overflows(make_model):
    model = make_model()
    network = LinearNetwork(model, prunable_weights(model))
    values = {p: np.full(v.shape, 1e200) for p, v in hidden_values(model).items()}
    with pytest.raises(FloatingPointError, match="exceeds what float64 holds"):
        network.flow(values)


def recurrent():
    inputs = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(11, 5)(inputs)
    x = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))(x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GRU(4)(x)))


def transformer():
    inputs = keras.Input((6, 8))
    x = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = keras.layers.LayerNormalization()(keras.layers.Add()([inputs, x]))
    x = keras.layers.Dense(8, activation="gelu")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x[:, 0]))


def grouped_attention():
    inputs = keras.Input((6, 8))
    x = keras.layers.GroupQueryAttention(4, 4, 2)(inputs, inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("make", [recurrent, transformer, grouped_attention])
def test_flow_reaches_every_weight_of_other_networks(make):
    for score in score_weights(make(), "synflow").values():
        assert np.isfinite(score).all()
        assert (score > 0).all()


def convolved(layer, shape=(4, 6, 6, 2)):
    rank = len(shape) - 1
    return keras.Sequential(
        [
            keras.Input(shape),
            getattr(keras.layers, f"Conv{rank}D")(2, 2, name="kernel"),
            layer,
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )


def plain_flow(model):
    """R of a model without normalisation, biases and gates, in Keras' own float32."""
    copy = keras.models.clone_model(model)
    copy.set_weights([np.abs(w) for w in model.get_weights()])
    return np.sum(copy(np.ones((1, *model.input_shape[1:]))))


VOLUMES = {
    "MaxPooling3D": {"pool_size": (1, 3, 2)},
    "AveragePooling3D": {"pool_size": 2},
    "AdaptiveMaxPooling3D": {"output_size": (2, 3, 2)},
    "AdaptiveAveragePooling3D": {"output_size": (2, 3, 2)},
}


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name", VOLUMES)
def test_volumes_are_pooled_as_keras_pools_them(name, data_format, padding):
    arguments = {"data_format": data_format, **VOLUMES[name]}
    if "pool_size" in arguments:
        arguments |= {"strides": 2, "padding": padding}
    model = convolved(getattr(keras.layers, name)(**arguments))
    model.run_eagerly = True
    network = LinearNetwork(model, prunable_weights(model))
    assert network.flow(hidden_values(model)) == pytest.approx(
        plain_flow(model), rel=1e-5
    )
    assert_conserved(model)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(3, 2, data_format="channels_first"),
        keras.layers.Conv2DTranspose(3, 2, strides=2, data_format="channels_first"),
        keras.layers.Conv2D(4, 2, groups=2),
    ],
)
def test_synflow_is_conserved_in_convolutions_of_other_forms(layer):
    model = convolved(layer, (6, 6, 2))
    model.run_eagerly = True
    assert_conserved(model)


def reading_integers(*between, dtype="int32", shape=(6,)):
    layers = [*between, keras.layers.Flatten(), keras.layers.Dense(2, name="kernel")]
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *layers])
    model.run_eagerly = True
    return model


@pytest.mark.parametrize(
    ("layers", "dtype"),
    [
        ([], "int32"),
        ([keras.layers.Rescaling(1 / 255)], "uint8"),
        ([keras.layers.Normalization(mean=1.0, variance=4.0)], "int64"),
        ([keras.layers.CategoryEncoding(5)], "int32"),
        ([keras.layers.Discretization([0.0], output_mode="one_hot")], "float32"),
        ([keras.layers.Hashing(5, output_mode="multi_hot")], "string"),
        (
            [keras.layers.IntegerLookup(vocabulary=[3, 4], output_mode="count")],
            "int64",
        ),
        (
            [keras.layers.StringLookup(vocabulary=["a"], output_mode="multi_hot")],
            "string",
        ),
    ],
)
def test_integers_and_encodings_are_ones_to_a_kernel(layers, dtype):
    model = reading_integers(*layers, dtype=dtype)
    (scores,) = score_weights(model, "synflow").values()
    assert np.allclose(scores, np.abs(model.layers[-1].kernel))


def test_texts_and_sounds_are_ones_to_a_kernel():
    texts = keras.layers.TextVectorization(
        vocabulary=["a"], output_mode="tf_idf", idf_weights=[1.0]
    )
    sounds = keras.layers.MelSpectrogram(num_mel_bins=3)
    for model in (
        reading_integers(texts, dtype="string", shape=(1,)),
        reading_integers(sounds, dtype="float32", shape=(4096,)),
    ):
        (scores,) = score_weights(model, "synflow").values()
        assert np.allclose(scores, np.abs(model.layers[-1].kernel))


def attention(layer):
    inputs = keras.Input((6, 8))
    parts = [keras.layers.Dense(8)(inputs) for _ in range(3)]
    x = keras.layers.Flatten()(layer(parts))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def merged(layer):
    inputs = keras.Input((6,))
    parts = [keras.layers.Dense(8)(inputs) for _ in range(2)]
    return keras.Model(inputs, keras.layers.Dense(3)(layer(parts)))


@pytest.mark.parametrize(
    "model",
    [
        attention(keras.layers.Attention(use_scale=True)),
        attention(keras.layers.Attention(score_mode="concat")),
        attention(keras.layers.AdditiveAttention()),
        merged(keras.layers.Maximum()),
        merged(keras.layers.Minimum()),
        merged(keras.layers.Subtract()),
    ],
    ids=lambda model: model.layers[-2].name,
)
def test_flow_reaches_every_branch(model):
    model.run_eagerly = True
    for score in score_weights(model, "synflow").values():
        assert (score > 0).all()


def test_what_does_not_run_in_float64_is_named():
    doubled = keras.layers.Lambda(lambda x: x * tf.constant(2.0))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), doubled])
    for model.run_eagerly in (True, False):
        with pytest.raises(ValueError, match=r"in float64.*x\.dtype.*Lambda") as caught:
            score_weights(model, "synflow")
        assert "in user code" not in str(caught.value)


def test_an_error_that_is_not_of_float64_stays_as_it_is():
    broken = []

    def fail_once_built(inputs):
        if broken:
            raise RuntimeError("Broken by itself.")
        return inputs

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.add(keras.layers.Lambda(fail_once_built))
    broken.append(True)
    with pytest.raises(RuntimeError, match=r"Broken by itself"):
        score_weights(model, "synflow", np.ones((2, 3)))


# Any model, and untouched


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    trainable = [layer.trainable for layer in model._flatten_layers()]
    return [v.numpy().copy() for v in variables], trainable


@pytest.mark.parametrize("method", criteria.CRITERIA)
def test_scoring_a_residual_network_changes_nothing(method, image_data):
    model = residual_net()
    model.optimizer.build(model.trainable_variables)
    before, trainable = state(model)
    scores = score_weights(model, method, image_data, batch_size=16, seed=0)
    assert {p: s.shape for p, s in scores.items()} == {
        p: w.shape for p, w in prunable_weights(model).items()
    }
    assert all(np.isfinite(s).all() and np.any(s) for s in scores.values())
    after, still_trainable = state(model)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert trainable == still_trainable
    assert model.layers[1].dtype_policy.name == "float32"


@pytest.mark.parametrize("method", criteria.CRITERIA)
def test_the_same_seed_gives_the_same_scores(method, make_model, regression_data):
    first, again = (
        score_weights(
            make_model(run_eagerly=True), method, regression_data, steps=1, seed=3
        )
        for _ in range(2)
    )
    assert all((first[path] == again[path]).all() for path in first)


def test_batch_normalisation_takes_the_statistics_of_the_batch(image_data):
    x, y = image_data
    model = residual_net()
    scaled = score_weights(model, "snip", (9 * x, y), seed=0)["branch_2/kernel"]
    plain = score_weights(model, "snip", (x, y), seed=0)["branch_2/kernel"]
    assert np.allclose(scaled, plain, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("method", ["snip", "synflow"])
def test_other_precisions_give_the_scores_of_float32(method, regression_data):
    scores = []
    for dtype in ("float32", "mixed_float16", "float64"):
        layers = [
            keras.layers.Dense(n, dtype=dtype, name=f"d{n}", kernel_initializer="ones")
            for n in (5, 3)
        ]
        model = keras.Sequential([keras.Input((12,)), *layers])
        model.compile("adam", "mse", run_eagerly=True)
        scores.append(score_weights(model, method, regression_data, seed=0))
    for others in scores[1:]:
        assert all(np.allclose(scores[0][path], others[path]) for path in others)


# Losses


def test_a_loss_is_needed_and_may_be_given(regression_data, make_model):
    with pytest.raises(ValueError, match=r"Pass `loss`, or compile"):
        score_weights(make_model(compiled=False), "snip", regression_data)
    given = score_weights(
        make_model(compiled=False), "snip", regression_data, loss="mse", seed=0
    )
    model = make_model(run_eagerly=True)
    own = score_weights(model, "snip", regression_data, seed=0)
    assert all(np.allclose(given[path], own[path]) for path in own)
    other = score_weights(model, "snip", regression_data, loss="mae", seed=0)
    assert not np.allclose(other["output/kernel"], own["output/kernel"])


@pytest.mark.parametrize("eager", [True, False])
def test_a_model_compiled_without_a_loss_needs_one(eager, make_model, regression_data):
    model = make_model(compiled=False)
    model.compile("adam", run_eagerly=eager)
    for method in ("snip", "grasp"):
        with pytest.raises(ValueError, match=r"^The criterion needs a loss"):
            score_weights(model, method, regression_data)
    assert score_weights(model, "snip", regression_data, loss="mse")


def test_a_loss_that_the_model_adds_is_enough(regression_data):
    regularised = keras.layers.Dense(2, kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((12,)), regularised])
    model.compile("adam", run_eagerly=True)
    (scores,) = score_weights(model, "snip", regression_data[0]).values()
    assert np.allclose(scores, 0.02 * np.square(regularised.kernel))


def test_targets_are_needed(make_model, regression_data):
    model = make_model()
    for method in ("snip", "grasp"):
        with pytest.raises(ValueError, match=r"^`data` must hold the targets .*inputs"):
            score_weights(model, method, regression_data[0])


def test_data_are_needed(make_model):
    with pytest.raises(ValueError, match="`data` is what SNIP learns from"):
        score_weights(make_model(), "snip")


def test_regularisation_is_part_of_the_loss():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, kernel_regularizer="l2", name="unit")]
    )
    model.layers[0].kernel.assign([[3.0], [-1.0]])
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.zeros((1, 2))
    scores = score_weights(model, "snip", (x, np.zeros((1, 1))))["unit/kernel"]
    # 0.01 w ** 2 by default: |w * 0.02 w|.
    assert np.allclose(scores.ravel(), [0.18, 0.02])


def test_losses_of_several_outputs_are_weighted(rng):
    inputs = keras.Input((3,))
    a, b = (keras.layers.Dense(1, name=name)(inputs) for name in "ab")
    model = keras.Model(inputs, [a, b])
    model.compile("sgd", ["mse", "mse"], loss_weights=[1.0, 10.0])
    model.layers[2].kernel.assign(model.layers[1].kernel)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    scores = score_weights(model, "snip", (x, [y, y]))
    assert np.allclose(10 * scores["a/kernel"], scores["b/kernel"], rtol=1e-4)
    assert not model._compile_loss.built


@keras.saving.register_keras_serializable(package="tests")
class Tripled(keras.Model):
    def compute_loss(self, *args, **kwargs):
        return 3 * super().compute_loss(*args, **kwargs)


def test_a_loss_of_the_models_own_counts():
    plain, data = linear_unit()
    model = Tripled(plain.inputs[0], plain.outputs[0])
    model.compile("sgd", "mse", run_eagerly=True)
    assert np.allclose(
        score_weights(model, "snip", data)["unit/kernel"].ravel(), [18.0, 12.0]
    )


# Data


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, **kwargs):
        super().__init__(**kwargs)
        self.arrays = x, y

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return tuple(a[16 * index : 16 * index + 16] for a in self.arrays)


DATA = {
    "arrays": lambda x, y: (x, y),
    "weighted": lambda x, y: (x, y, np.ones(len(x))),
    "tensors": lambda x, y: (tf.constant(x), tf.constant(y)),
    "tf.data": lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(20),
    "PyDataset": Batches,
    "workers": lambda x, y: Batches(x, y, workers=2),
    "generator": lambda x, y: (b for b in Batches(x, y)),
}


@pytest.mark.parametrize("kind", DATA)
def test_scores_are_the_mean_over_data_of_any_form(kind, make_model, regression_data):
    model = make_model(run_eagerly=True)
    objective = Objective(model, prunable_weights(model))
    whole = objective.gradients(
        hidden_values(model), [Batch(*regression_data, sample_weight=None)]
    )
    batches = collect_batches(DATA[kind](*regression_data), batch_size=20)
    assert sum(batch.size for batch in batches) == 64
    mean = objective.gradients(hidden_values(model), batches)
    assert all(np.allclose(whole[p], mean[p], rtol=1e-3, atol=1e-6) for p in whole)


def test_no_more_batches_are_read_than_asked_for():
    read = []

    def endless():
        while True:
            read.append(1)
            yield np.zeros((2, 3)), np.zeros((2, 1))

    assert len(collect_batches(endless(), steps=3)) == 3
    assert len(read) <= 5


def test_more_than_there_is_may_be_asked_for():
    (batch,) = collect_batches(np.arange(7.0), batch_size=2**70, steps=2**70)
    assert sorted(batch.x) == list(range(7))
    dataset = tf.data.Dataset.from_tensors(np.arange(7.0))
    assert len(collect_batches(dataset, steps=2**70)) == 1


def test_examples_of_arrays_are_drawn_by_the_seed():
    x = np.arange(1000.0)
    first, again, other = (
        collect_batches(x, batch_size=10, steps=2, seed=seed) for seed in (0, 0, 1)
    )
    drawn = np.concatenate([batch.x for batch in first])
    assert len(np.unique(drawn)) == 20
    assert drawn.max() > 500
    assert (first[0].x == again[0].x).all()
    assert (first[0].x != other[0].x).any()


def test_inputs_by_name(rng):
    inputs = {name: keras.Input((2,), name=name) for name in "ab"}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, keras.layers.Dense(1, name="unit")(joined))
    model.compile("sgd", "mse", run_eagerly=True)
    data = {name: rng.normal(size=(7, 2)) for name in "ab"}, rng.normal(size=(7, 1))
    assert (score_weights(model, "snip", data)["unit/kernel"] > 0).all()
    assert (score_weights(model, "synflow")["unit/kernel"] > 0).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "`data` must be what `fit` takes"),
        ((np.zeros((3, 2)), np.zeros((4, 2))), "same number of examples"),
        ((np.zeros((0, 2)), np.zeros((0, 2))), "at least one"),
        (tf.data.Dataset.from_tensor_slices(np.zeros((0, 2))).batch(2), "one batch"),
    ],
)
def test_other_data_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        collect_batches(data)


# Names


def test_criteria_by_name_class_and_instance():
    instance = criteria.GraSP(temperature=10)
    assert criteria.get(instance) is instance
    assert isinstance(criteria.get(criteria.SNIP), criteria.SNIP)
    for name, cls in criteria.CRITERIA.items():
        assert type(criteria.get(name)) is cls


@pytest.mark.parametrize("bad", ["snap", None, 3])
def test_an_unknown_criterion_lists_the_known_ones(bad):
    with pytest.raises(ValueError, match=r"`method` must be one of 'force', 'grasp'"):
        criteria.get(bad)


@pytest.mark.parametrize(
    "bad",
    [0, -1.0, "hot", float("inf"), float("nan"), True, 10**400],
    ids=lambda x: f"{x!s:.5}",
)
def test_a_temperature_is_positive(bad):
    with pytest.raises(ValueError, match=r"`temperature` must be a positive number"):
        criteria.GraSP(temperature=bad)
