import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_initprune.constraints.layers import Layers
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.paths import observe
from keras_initprune.paths.observation import check_paths


def perceptron(*sizes, activation="relu"):
    """A perceptron whose layers are called a, b, c..."""
    return keras.Sequential(
        [
            keras.Input((sizes[0],)),
            *[
                layers.Dense(size, activation=activation, name=chr(ord("a") + at))
                for at, size in enumerate(sizes[1:])
            ],
        ]
    )


def chain_by_hand(masks):
    """The definition, for a chain of matrices: live inputs and live outputs."""
    inputs, outputs = [np.ones(masks[0].shape[0], bool)], [np.ones(masks[-1].shape[1])]
    for mask in masks:
        inputs.append((mask & inputs[-1][:, None]).any(axis=0))
    for mask in reversed(masks):
        outputs.insert(0, (mask & outputs[0].astype(bool)[None, :]).any(axis=1))
    return [
        mask & before[:, None] & after.astype(bool)[None, :]
        for mask, before, after in zip(masks, inputs[:-1], outputs[1:], strict=True)
    ]


def effective_masks(model, masks=None, inputs=None, layers=None):
    """Return which kept weights lie on a path, for `masks` or for all."""
    effective = observe(model, masks, inputs).effective
    return {path: effective[path] for path in masks or prunable_weights(model, layers)}


def prune_at_random(model, rng, density):
    """Positive weights and no biases, so that no two paths cancel."""
    for weight in prunable_weights(model, Layers(embeddings=True)).values():
        values = rng.uniform(0.5, 1.5, weight.shape) / np.sqrt(weight.size)
        weight.variable.assign(values * (rng.random(weight.shape) < density))


def remove_dead(model):
    """Set all dead weights to zero and return how many there were."""
    effective = effective_masks(model, layers=Layers(embeddings=True))
    removed = 0
    for path, weight in prunable_weights(model, Layers(embeddings=True)).items():
        values = weight.variable.numpy()
        removed += np.count_nonzero(values[~effective[path]])
        weight.variable.assign(np.where(effective[path], values, 0))
    return removed


def matters(model, weight, index, x, before):
    """Whether the outputs change when one weight is removed: brute force."""
    kept = weight.variable.numpy()
    changed = kept.copy()
    changed[index] = 0
    weight.variable.assign(changed)
    after = np.asarray(model(x))
    weight.variable.assign(kept)
    return not np.array_equal(before, after)


class TestPerceptron:
    def test_unit_without_outputs_kills_what_feeds_it(self):
        model = perceptron(3, 3, 2)
        masks = {"a/kernel": np.ones((3, 3), bool), "b/kernel": np.ones((3, 2), bool)}
        masks["b/kernel"][1] = False
        effective = effective_masks(model, masks)
        assert effective["a/kernel"].tolist() == [[True, False, True]] * 3
        np.testing.assert_array_equal(effective["b/kernel"], masks["b/kernel"])

    @pytest.mark.parametrize("activation", ["relu", "sigmoid", "softmax", "relu6"])
    def test_unit_without_inputs_kills_what_reads_it(self, activation):
        model = perceptron(3, 3, 2, activation=activation)
        model.get_layer("a").bias.assign([1.0, 2.0, 3.0])
        masks = {"a/kernel": np.ones((3, 3), bool), "b/kernel": np.ones((3, 2), bool)}
        masks["a/kernel"][:, 1] = False
        effective = effective_masks(model, masks)
        assert effective["b/kernel"].tolist() == [
            [True, True],
            [False, False],
            [True, True],
        ]

    def test_judges_zeros_without_masks_and_for_unnamed_tensors(self):
        model = perceptron(2, 2, 1)
        model.get_layer("b").kernel.assign([[-1.0], [0.0]])
        everything = effective_masks(model)
        assert everything["a/kernel"].tolist() == [[True, False]] * 2
        named = effective_masks(model, {"a/kernel": np.eye(2, dtype=bool)})
        assert {path: mask.tolist() for path, mask in named.items()} == {
            "a/kernel": [[True, False], [False, False]]
        }

    @pytest.mark.parametrize("density", [0.1, 0.2, 0.4])
    @pytest.mark.parametrize("activation", ["relu", "softmax"])
    def test_agrees_with_the_definition(self, rng, density, activation):
        model = perceptron(20, 15, 10, 10, 5, activation=activation)
        masks = {
            path: rng.random(weight.shape) < density
            for path, weight in prunable_weights(model).items()
        }
        expected = chain_by_hand(list(masks.values()))
        effective = effective_masks(model, masks)
        for found, by_hand in zip(effective.values(), expected, strict=True):
            np.testing.assert_array_equal(found, by_hand)

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_depth_does_not_matter(self, rng, dtype):
        keras.config.set_dtype_policy(dtype)
        try:
            model = perceptron(*[40] * 21, activation="sigmoid")
        finally:
            keras.config.set_dtype_policy("float32")
        masks = {
            path: rng.random(weight.shape) < 0.05
            for path, weight in prunable_weights(model).items()
        }
        # A single path that never meets another.
        for mask in masks.values():
            mask[:5] = mask[:, :5] = False
            mask[0, 0] = True
        expected = chain_by_hand(list(masks.values()))
        effective = effective_masks(model, masks)
        for found, by_hand in zip(effective.values(), expected, strict=True):
            np.testing.assert_array_equal(found, by_hand)
        assert all(mask[0, 0] for mask in effective.values())

    def test_has_live_path(self):
        model = perceptron(2, 2, 2)
        first, second = np.zeros((2, 2), bool), np.zeros((2, 2), bool)
        first[0, 0] = second[1, 0] = True
        masks = {"a/kernel": first, "b/kernel": second}
        assert not observe(model, masks).has_live_path
        assert not any(m.any() for m in effective_masks(model, masks).values())
        second[0, 0] = True
        assert observe(model, masks).has_live_path


def image_chain(*inner):
    return keras.Sequential([keras.Input((6, 6, 2)), *inner])


def residual():
    inputs = keras.Input((6,))
    x = layers.Dense(6, activation="relu")(inputs)
    shared = layers.Dense(6, activation="relu")
    y = shared(layers.BatchNormalization()(shared(x)))
    outputs = [layers.Dense(2)(layers.Add()([x, y])), layers.Dense(1)(y)]
    return keras.Model(inputs, layers.Concatenate()(outputs))


def nested():
    encoder = perceptron(6, 4, 4)
    return keras.Sequential([keras.Input((6,)), encoder, layers.Dense(3)])


def pooled_recurrent(*inner):
    return keras.Sequential([keras.Input((4, 3)), *inner, layers.Dense(3)])


def linear(recurrent, units=4, **arguments):
    return recurrent(units, activation="linear", **arguments)


# Linear or ReLU, so that without biases a unit without inputs emits zero.
EXACT = {
    "conv": lambda: image_chain(
        layers.Conv2D(3, 3, padding="same", activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(3, 3, strides=2, padding="same"),
        layers.Conv2D(3, 2),
        layers.Flatten(),
        layers.Dense(3),
    ),
    "separable": lambda: image_chain(
        layers.SeparableConv2D(3, 3, padding="same", depth_multiplier=2),
        layers.DepthwiseConv2D(3),
        layers.ZeroPadding2D(),
        layers.Conv2DTranspose(2, 2, strides=2),
        layers.Cropping2D(2),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2),
    ),
    "grouped": lambda: image_chain(
        layers.Conv2D(4, 2, groups=2, strides=2),
        layers.Conv2D(2, 1),
        layers.Flatten(),
        layers.Dense(2),
    ),
    "conv_1d": lambda: keras.Sequential(
        [
            keras.Input((6, 2)),
            layers.Conv1D(3, 3, padding="causal", dilation_rate=2),
            layers.Conv1DTranspose(2, 3),
            layers.Cropping1D(3),
            layers.Permute((2, 1)),
            layers.Dense(2),
        ]
    ),
    "residual": residual,
    "nested": nested,
    "einsum": lambda: keras.Sequential(
        [
            keras.Input((2, 4)),
            layers.EinsumDense("abd,dhk->abhk", (2, 2, 3)),
            layers.EinsumDense("abhk,hkd->abd", (2, 3)),
            layers.EinsumDense("abd,bde->abe", (2, 2)),
        ]
    ),
    "recurrent": lambda: pooled_recurrent(
        linear(layers.SimpleRNN, return_sequences=True), linear(layers.SimpleRNN)
    ),
    "bidirectional": lambda: pooled_recurrent(
        layers.Bidirectional(linear(layers.SimpleRNN))
    ),
    "distributed": lambda: pooled_recurrent(
        layers.TimeDistributed(perceptron(3, 4, 2)), layers.Flatten()
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_agrees_with_brute_force(rng, name):
    model = EXACT[name]()
    prune_at_random(model, rng, 0.3)
    x = rng.uniform(1, 2, (2, *model.inputs[0].shape[1:])).astype("float32")
    effective = effective_masks(model)
    before = np.asarray(model(x))
    for path, weight in prunable_weights(model).items():
        for index in zip(*np.nonzero(weight.variable.numpy()), strict=True):
            expected = matters(model, weight, index, x, before)
            assert effective[path][index] == expected, (path, index)


def transformer(attention):
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 6)(inputs)
    x = layers.Add()([x, attention(x, x)])
    x = layers.Dense(4, activation="gelu")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))


def squeeze_excite():
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    gates = layers.Dense(2, activation="relu")(layers.GlobalAveragePooling2D()(x))
    gates = layers.Dense(4, activation="sigmoid")(gates)
    x = layers.MaxPooling2D()(layers.Multiply()([x, gates]))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


# What is not effective changes nothing: biases are zero but for LSTM's forget gate.
SOUND = {
    "lstm": lambda: pooled_recurrent(
        layers.LSTM(6, return_sequences=True), layers.LSTM(6)
    ),
    "gru": lambda: pooled_recurrent(
        layers.GRU(4, return_sequences=True), layers.GRU(4, reset_after=False)
    ),
    "stacked_cells": lambda: pooled_recurrent(
        layers.RNN([layers.LSTMCell(4), layers.GRUCell(4)], unroll=True)
    ),
    "attention": lambda: transformer(layers.MultiHeadAttention(2, 3)),
    "grouped_attention": lambda: transformer(layers.GroupQueryAttention(3, 4, 2)),
    "squeeze_excite": squeeze_excite,
}


@pytest.mark.parametrize("name", SOUND)
def test_dead_weights_do_nothing(name):
    model = SOUND[name]()
    # Chosen so that every model has live weights as well as dead ones.
    seed, density = (1, 0.15) if name == "lstm" else (0, 0.25)
    rng = np.random.default_rng(seed)
    prune_at_random(model, rng, density)
    shape = (4, *model.inputs[0].shape[1:])
    x = rng.integers(0, 7, shape)
    before = np.asarray(model(x))
    assert np.ptp(before, axis=0).any()
    assert remove_dead(model) > 0
    np.testing.assert_allclose(np.asarray(model(x)), before, atol=1e-6)


def test_gates_count_also_where_the_candidate_has_no_inputs():
    model = pooled_recurrent(layers.GRU(2))
    mask = np.ones((3, 6), bool)
    mask[:, 4:] = False  # Gates z, r and the candidate, of two units each.
    path = next(iter(prunable_weights(model)))
    assert effective_masks(model, {path: mask})[path][:, :4].all()


def test_queries_and_keys_count_as_far_as_their_values_do():
    model = transformer(layers.MultiHeadAttention(2, 3, name="attention"))
    weights = prunable_weights(model)
    value = next(path for path in weights if path.endswith("value/kernel"))
    query = next(path for path in weights if path.endswith("query/kernel"))
    mask = np.ones(weights[value].shape, bool)
    mask[:, 0] = False
    effective = effective_masks(
        model, {value: mask, query: np.ones(weights[query].shape, bool)}
    )
    assert not effective[query][:, 0].any()
    assert effective[query][:, 1].all()


def test_embedding_rows_count_where_their_column_does():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            layers.Embedding(5, 2, mask_zero=True),
            layers.LSTM(3),
        ]
    )
    table, kernel, _ = prunable_weights(model, Layers(embeddings=True))
    masks = {table: np.ones((5, 2), bool), kernel: np.ones((2, 12), bool)}
    masks[table][:4, 0] = masks[kernel][1] = False
    effective = effective_masks(model, masks)
    assert effective[table][:, 0].tolist() == [False] * 4 + [True]
    assert not effective[table][:, 1].any()
    assert table not in effective_masks(model)
    assert table in effective_masks(model, layers=Layers(embeddings=True))


def test_normalisation_and_maxima_hide_nothing():
    inputs = keras.Input((8, 8, 1))
    x = layers.Rescaling(-1.0, offset=-3.0)(inputs)
    x = layers.Conv2D(4, 3, activation="relu6")(x)
    x = layers.MaxPooling2D(3, padding="same")(layers.GroupNormalization(2)(x))
    x = layers.LayerNormalization()(layers.LeakyReLU()(layers.Dense(4)(x)))
    x = layers.Maximum()([x, layers.UnitNormalization()(layers.Dense(4)(x))])
    x = layers.Subtract()([x, layers.Dense(4)(x)])
    x = layers.Softmax()(layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    model = keras.Model(inputs, x)
    assert all(mask.all() for mask in effective_masks(model).values())


class TwoInputs(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(3)
        self.second = layers.Dense(2)

    @tf.function
    def call(self, left, right):
        return {"sum": self.second(keras.ops.relu(self.first(left)) + right)}


class Counting(keras.Model):
    """Changes a variable of its own at every call, and has a scale that is zero."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)
        self.calls = self.add_weight(shape=(), dtype="int32", trainable=False)
        self.scale = self.add_weight(shape=(2,), initializer="zeros")

    def call(self, inputs):
        self.calls.assign(self.calls + 1)
        return self.scale * self.dense(inputs["x"])


class TestInputs:
    def test_subclassed_model_remembers_its_shapes(self):
        model = Counting()
        model({"x": np.ones((2, 3))})
        calls = int(model.calls.numpy())
        assert effective_masks(model)["dense/kernel"].all()
        assert int(model.calls.numpy()) == calls

    def test_several_arguments_by_name(self):
        model = TwoInputs()
        inputs = {"left": np.ones((4, 5)), "right": np.ones((4, 3))}
        before = model(**inputs)["sum"]
        with pytest.raises(ValueError, match="Pass a small batch as `inputs`"):
            effective_masks(model)
        effective = effective_masks(model, inputs=inputs)
        assert all(mask.all() for mask in effective.values())
        np.testing.assert_array_equal(model(**inputs)["sum"], before)

    def test_batches_that_the_pass_has_used_are_not_poisoned(self):
        model = TwoInputs()
        three = {"left": np.ones((3, 5)), "right": np.ones((3, 3))}
        model(**{name: value[:2] for name, value in three.items()})
        effective_masks(model, inputs=three)
        first, second = model.first, model.second
        expected = second(keras.ops.relu(first(three["left"])) + three["right"])
        np.testing.assert_allclose(model(**three)["sum"], expected, rtol=1e-6)

    def test_several_inputs_and_outputs(self):
        inputs = {
            "number": keras.Input((3,), name="number"),
            "token": keras.Input((), dtype="int32", name="token"),
            "word": keras.Input((1,), dtype="string", name="word"),
        }
        one = layers.Dense(2, name="one")(inputs["number"])
        two = layers.Dense(2, name="two")(layers.Embedding(4, 3)(inputs["token"]))
        lookup = layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")
        three = layers.Dense(2, name="three")(lookup(inputs["word"]))
        model = keras.Model(inputs, {"one": one, "sum": layers.Add()([two, three])})
        effective = effective_masks(model)
        assert set(effective) == {"one/kernel", "two/kernel", "three/kernel"}
        assert all(mask.all() for mask in effective.values())

    def test_open_sizes(self):
        model = keras.Sequential(
            [keras.Input((None, 3)), layers.Conv1D(2, 5, strides=9), layers.GRU(2)]
        )
        assert all(mask.all() for mask in effective_masks(model).values())

    def test_integers_that_are_numbers(self):
        inputs = keras.Input((4, 4, 1), dtype="uint8")
        x = keras.ops.cast(inputs, "float32") / 255
        x = layers.Concatenate()([x, layers.Rescaling(1 / 255)(inputs)])
        model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
        assert all(mask.all() for mask in effective_masks(model).values())

    def test_integers_are_taken_from_the_inputs(self):
        inputs = keras.Input((), dtype="int32")
        model = keras.Model(
            inputs, layers.Dense(2, name="d")(keras.ops.one_hot(inputs, 3))
        )
        rows = effective_masks(model, inputs=np.array([0, 2]))["d/kernel"]
        assert rows.tolist() == [[True, True], [False, False], [True, True]]

    def test_unused_layer_is_dead(self):
        model = TwoInputs()
        model.third = layers.Dense(2)
        model.third.build((None, 2))
        inputs = {"left": np.ones((4, 5)), "right": np.ones((4, 3))}
        model(**inputs)
        third = list(effective_masks(model, inputs=inputs).values())[-1]
        assert third.shape == (2, 2)
        assert not third.any()

    def test_unknown_shapes_are_an_error(self):
        model = TwoInputs()
        model.first.build((None, 5))
        model.second.build((None, 3))
        model.built = True
        with pytest.raises(ValueError, match="does not know the shapes of its inputs"):
            effective_masks(model)

    def test_masks_must_fit(self):
        model = perceptron(2, 2)
        with pytest.raises(ValueError, match="`masks` must name prunable weights"):
            effective_masks(model, {"x/kernel": np.ones((2, 2))})
        with pytest.raises(ValueError, match=r"must have the shape \(2, 2\)"):
            effective_masks(model, {"a/kernel": np.ones((2, 1))})


def everything(model):
    # Keras itself notes in private attributes that a layer has been called.
    attributes = {
        (layer.name, name): value
        for layer in model._flatten_layers()
        for name, value in vars(layer).items()
        if not name.startswith("_") or name == "_compute_attention"
    }
    return attributes, [variable.numpy() for variable in model.variables]


def assert_unchanged(model, before):
    attributes, values = everything(model)
    assert attributes.keys() == before[0].keys()
    for key, value in attributes.items():
        assert value is before[0][key] or value == before[0][key], key
    for value, earlier in zip(values, before[1], strict=True):
        np.testing.assert_array_equal(value, earlier)


class TestModelStaysAsItIs:
    @pytest.mark.parametrize("name", ["lstm", "attention", "squeeze_excite"])
    def test_after_success(self, name):
        model = SOUND[name]()
        before = everything(model)
        effective_masks(model)
        assert_unchanged(model, before)

    def test_stateful_and_mixed_precision(self):
        model = keras.Sequential(
            [
                keras.Input((4, 3), batch_size=1),
                layers.LSTM(4, stateful=True, dtype="mixed_float16"),
                layers.BatchNormalization(),
                layers.Dense(2, dtype="float16"),
            ]
        )
        model(np.ones((1, 4, 3)))
        before = everything(model)
        # In half precision an initialiser happens to draw zeros.
        masks = {
            path: np.ones(weight.shape, bool)
            for path, weight in prunable_weights(model).items()
        }
        effective = effective_masks(model, masks)
        assert all(mask.all() for mask in effective.values())
        assert_unchanged(model, before)

    def test_after_failure(self):
        model = perceptron(3, 3, 2)
        before = everything(model)
        with pytest.raises(ValueError, match="incompatible"):
            effective_masks(model, inputs=np.ones((2, 5)))
        assert_unchanged(model, before)
        assert not tf.config.functions_run_eagerly()

    def test_training_goes_on_without_retracing(self, make_model, regression_data):
        traces = []

        class Traced(keras.losses.MeanSquaredError):
            def call(self, y_true, y_pred):
                traces.append(1)
                return super().call(y_true, y_pred)

        model = make_model()
        model.compile("adam", Traced())
        model.fit(*regression_data, verbose=0)
        function, count = model.train_function, len(traces)
        optimizer = [v.numpy() for v in model.optimizer.variables]
        effective_masks(model)
        for variable, value in zip(model.optimizer.variables, optimizer, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
        model.fit(*regression_data, verbose=0)
        assert model.train_function is function
        assert len(traces) == count


class TestGuard:
    def test_it_names_where_the_last_path_ends(self):
        model = perceptron(4, 3, 3, 2)
        masks = {
            "a/kernel": np.eye(4, 3, dtype=bool),
            "b/kernel": np.array([[1, 0, 0]] * 3, bool),
            # Reads the second and third unit, whose inputs are gone.
            "c/kernel": np.array([[0, 0], [1, 0], [0, 1]], bool),
        }
        with pytest.raises(ValueError, match=r"no path .* ends at 'c/kernel'\. Choose"):
            check_paths(model, masks)
        masks["c/kernel"][0, 0] = True
        check_paths(model, masks)

    def test_it_names_layers_without_effective_weights(self):
        inputs = keras.Input((3,))
        branch = layers.Dense(3, name="first")(inputs)
        branch = layers.Dense(3, name="second")(branch)
        outputs = layers.Dense(2, name="output")(layers.Add()([inputs, branch]))
        model = keras.Model(inputs, outputs)
        one, other = np.zeros((2, 3, 3), bool)
        one[:, 0] = other[1] = True  # The second layer reads a unit without inputs.
        masks = {"first/kernel": one, "second/kernel": other}
        with pytest.warns(UserWarning, match="'first/kernel', 'second/kernel' lies on"):
            check_paths(model, masks)
        other[0, 2] = True
        check_paths(model, masks)


def test_mirrored_strategy(rng):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = perceptron(6, 5, 4)
    masks = {
        path: rng.random(weight.shape) < 0.3
        for path, weight in prunable_weights(model).items()
    }
    expected = chain_by_hand(list(masks.values()))
    for path, weight in prunable_weights(model).items():
        weight.variable.assign(masks[path] * 1.0)
    found = effective_masks(model).values()
    for mask, by_hand in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mask, by_hand)
