"""Compacted models compute the same function, with as little as they need for it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initprune import Layers, get_masks, install_masks, report, set_masks
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.deploy.compaction import compact, compaction_report
from keras_initprune.lab import models


def dense(units, activation="relu", **arguments):
    return layers.Dense(units, activation, **arguments)


def conv(filters, size=3, padding="same", activation="relu", **arguments):
    return layers.Conv2D(
        filters, size, padding=padding, activation=activation, **arguments
    )


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


@keras.saving.register_keras_serializable(package="test_compaction")
def centred(x):
    """An activation that looks at all units, which nobody can tell from outside."""
    return x - ops.max(x, axis=-1, keepdims=True)


def residual(merge):
    images = keras.Input((6, 6, 2))
    x = conv(8)(images)
    y = layers.BatchNormalization()(conv(8, activation=None, use_bias=False)(x))
    x = layers.ReLU()(merge(x, y))
    y = conv(8, padding="same", strides=2)(x)
    z = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(merge(y, z))
    return keras.Model(images, dense(3, None)(x))


def squeeze_and_excite():
    images = keras.Input((5, 5, 2))
    x = conv(6)(images)
    gate = dense(6, "relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(images, conv(2)(layers.Multiply()([x, gate])))


def branches():
    first, second = keras.Input((5,), name="first"), keras.Input((4,), name="second")
    x, y = dense(8)(first), dense(7, "tanh")(second)
    both = layers.Concatenate()([x, y])
    x = layers.Dropout(0.5)(dense(6)(both))
    outputs = {"main": dense(2, "softmax")(x), "side": dense(1, None)(y)}
    return keras.Model({"first": first, "second": second}, outputs)


def shared_layers():
    first, second = keras.Input((5,)), keras.Input((5,))
    shared, relu = dense(6), layers.ReLU()
    x, y = dense(4)(relu(shared(first))), dense(4)(relu(shared(second)))
    return keras.Model([first, second], dense(2, None)(layers.add([x, y])))


def nested_models():
    inner = sequential((6,), dense(8), dense(5))
    first, second = keras.Input((6,)), keras.Input((6,))
    x = layers.concatenate([inner(first), inner(second)])
    return keras.Model([first, second], dense(2, None)(dense(6)(x)))


def reused_inside():
    """A layer of the inner model that the outer one calls as well."""
    layer = dense(6)
    inner = sequential((6,), dense(6), layer, dense(4))
    x = keras.Input((6,))
    return keras.Model(x, layers.concatenate([inner(x), dense(3)(layer(x))]))


def tokens():
    x = inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(9, 8)(x)
    x = layers.Conv1D(6, 3, padding="causal", activation="relu", dilation_rate=2)(x)
    x = layers.Conv1D(6, 3, padding="causal", activation="relu")(x)
    x = layers.SeparableConv1D(5, 2, padding="valid", activation="relu")(x)
    return keras.Model(inputs, dense(2, None)(layers.GlobalMaxPooling1D()(x)))


def masked_steps():
    x = inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 6, mask_zero=True)(x)
    x = dense(6)(x)
    x = layers.GlobalAveragePooling1D()(dense(5)(x))
    return keras.Model(inputs, dense(2, None)(x))


def operators():
    x = inputs = keras.Input((5,))
    x = ops.relu(dense(6, None)(x) + dense(6, None)(x))
    x = dense(4)(x) * dense(4)(x) - 1.0
    return keras.Model(inputs, dense(2, None)(x))


def attention():
    inputs = keras.Input((4, 6))
    x = dense(6)(inputs)
    x = layers.Bidirectional(layers.LSTM(3))(layers.MultiHeadAttention(2, 3)(x, x))
    return keras.Model(inputs, dense(2, None)(dense(8)(x)))


MODELS = {
    "perceptron": lambda: models.perceptron((4, 4, 1), (12, 9), 3),
    "softmax": lambda: sequential((6,), dense(8, "softmax"), dense(8), dense(3)),
    "own activation": lambda: sequential(
        (6,), dense(8), dense(8, centred), dense(8), dense(3)
    ),
    "sigmoid": lambda: sequential((6,), *(dense(9, "sigmoid") for _ in range(4))),
    "no biases": lambda: sequential(
        (6,), dense(8), dense(8, use_bias=False), dense(3, use_bias=False)
    ),
    "steps": lambda: sequential((3, 5), dense(8), dense(6), dense(2)),
    "autoencoder": lambda: models.autoencoder((4, 4, 1), (12, 8), 4),
    "convnet": lambda: models.convnet((8, 8, 1), (6, 8), 3),
    "valid": lambda: sequential(
        (8, 8, 2), conv(6, 3, "valid"), conv(6, 2, "valid"), conv(3, 3, "valid")
    ),
    "strides": lambda: sequential((7, 7, 2), conv(6, strides=2), conv(6, strides=2)),
    "dilation": lambda: sequential((7, 7, 2), conv(6), conv(4, dilation_rate=2)),
    "normalised": lambda: sequential(
        (6, 6, 2),
        conv(6, activation=None),
        layers.BatchNormalization(),
        layers.PReLU(shared_axes=(1, 2)),
        conv(6, 1),
        layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.PReLU(),
        conv(3),
    ),
    "resized": lambda: sequential(
        (4, 4, 2),
        conv(5),
        layers.ZeroPadding2D(1),
        conv(5, padding="valid"),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Cropping2D(1),
        layers.AveragePooling2D(3, 1, padding="same"),
        conv(3, 2, "valid"),
    ),
    "transposed": lambda: sequential(
        (3, 3, 2),
        conv(6),
        layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(5, 1, activation="relu"),
        layers.Conv2DTranspose(2, 2),
    ),
    "depthwise": lambda: sequential(
        (6, 6, 3),
        conv(6),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
        conv(8, 1),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2),
        layers.ReLU(),
        layers.SeparableConv2D(4, 3),
    ),
    "reshaped": lambda: sequential(
        (5,),
        dense(24),
        layers.Reshape((2, 3, 4)),
        conv(6, 2),
        layers.Reshape((-1, 3)),
        layers.Conv1D(4, 2, activation="relu"),
        layers.Flatten(),
        layers.RepeatVector(2),
        dense(3),
    ),
    "recurrent": lambda: sequential(
        (4, 3), dense(6), layers.LSTM(5, return_sequences=True), layers.GRU(4), dense(2)
    ),
    "wrapped": lambda: sequential(
        (4, 3), dense(6), layers.TimeDistributed(dense(5)), layers.Flatten(), dense(2)
    ),
    "grouped": lambda: sequential((5, 5, 2), conv(6), conv(4, groups=2), conv(2)),
    "layer normalised": lambda: sequential(
        (6,), dense(8), layers.LayerNormalization(), dense(8), dense(3)
    ),
    "open sizes": lambda: sequential((None, None, 2), conv(6), conv(5), conv(2)),
    "residual": lambda: residual(lambda x, y: layers.Add()([x, y])),
    "residual operator": lambda: residual(lambda x, y: x + y),
    "gated": squeeze_and_excite,
    "branches": branches,
    "shared": shared_layers,
    "nested": nested_models,
    "reused inside": reused_inside,
    "attention": attention,
    "tokens": tokens,
    "masked steps": masked_steps,
    "operators": operators,
}


def fill(model, rng, sparsity):
    """Give every weight random values, and zeros to what can be pruned."""
    for variable in model.weights:
        if variable.dtype == "bool":
            continue
        values = rng.normal(size=variable.shape)
        if "variance" in variable.name:
            values = rng.uniform(0.5, 2, variable.shape)
        if variable.name == "gamma":
            values[rng.random(values.shape) < 0.2] = 0
        variable.assign(values)
    for weight in prunable_weights(model, Layers(embeddings=True)).values():
        kept = rng.random(weight.shape) >= sparsity
        weight.variable.assign(weight.variable.numpy() * kept)
    return model


def inputs_of(model, rng, examples=5):
    def values(tensor):
        shape = [examples, *(6 if size is None else size for size in tensor.shape[1:])]
        if tensor.dtype == "int32":
            return rng.integers(0, 9, shape)
        return rng.normal(size=shape).astype("float32")

    if isinstance(model, keras.Sequential):
        return values(model.inputs[0])
    return keras.tree.map_structure(values, model.input)


def outputs_of(model, inputs):
    return [
        ops.convert_to_numpy(output)
        for output in keras.tree.flatten(model(inputs, training=False))
    ]


def assert_same_function(model, compacted, inputs):
    for before, after in zip(
        outputs_of(model, inputs), outputs_of(compacted, inputs), strict=True
    ):
        scale = max(1.0, float(np.abs(before).max()))
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * scale)


class TestSameFunction:
    @pytest.mark.parametrize(
        "sparsity", [pytest.param(0.6, marks=pytest.mark.whole_matrix), 0.9]
    )
    @pytest.mark.parametrize("name", MODELS)
    def test_of_every_architecture(self, name, sparsity, rng):
        model = fill(MODELS[name](), rng, sparsity)
        weights = [weight.copy() for weight in model.get_weights()]
        compacted = compact(model, gather=1)
        assert_same_function(model, compacted, inputs_of(model, rng))
        found = compaction_report(model, gather=1)
        assert compacted.count_params() == found.parameters_after
        for before, after in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)


class TestWhatGoes:
    def test_units_nobody_reads(self):
        model = sequential((2,), dense(3, name="hidden"), dense(1, None, name="output"))
        model.get_layer("output").kernel.assign([[1.0], [0.0], [2.0]])
        kernel = model.get_layer("hidden").kernel.numpy()
        compacted = compact(model)
        np.testing.assert_array_equal(
            compacted.get_layer("hidden").kernel, kernel[:, [0, 2]]
        )
        assert compacted.get_layer("output").kernel.numpy().tolist() == [[1.0], [2.0]]

    def test_units_without_inputs_become_a_bias(self):
        model = sequential((2,), dense(3, name="hidden"), dense(1, None, name="output"))
        hidden, output = model.layers
        hidden.kernel.assign([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        hidden.bias.assign([0.0, 2.0, -2.0])
        output.kernel.assign([[1.0], [10.0], [100.0]])
        output.bias.assign([0.5])
        compacted = compact(model)
        assert [layer.units for layer in compacted.layers] == [1, 1]
        # 0.5 + 10 relu(2) + 100 relu(-2)
        assert compacted.layers[1].bias.numpy().tolist() == [20.5]

    def test_a_bias_is_added_where_there_was_none(self):
        model = sequential((1,), dense(2), dense(1, None, use_bias=False))
        model.layers[0].kernel.assign([[1.0, 0.0]])
        model.layers[0].bias.assign([0.0, 3.0])
        model.layers[1].kernel.assign([[1.0], [2.0]])
        assert compact(model).layers[1].bias.numpy().tolist() == [6.0]

    def test_until_nothing_is_left_to_take(self, rng):
        """A chain: the last unit's only reader goes, and so does all before it."""
        model = sequential((2,), *(dense(2) for _ in range(4)))
        for layer in model.layers[:3]:
            layer.kernel.assign(np.eye(2))
        model.layers[3].kernel.assign([[1.0, 1.0], [0.0, 0.0]])
        compacted = compact(model, gather=0)
        assert [layer.kernel.shape for layer in compacted.layers] == [
            (2, 1),
            (1, 1),
            (1, 1),
            (1, 2),
        ]

    @pytest.mark.parametrize("sparsity", [0.8, 0.95])
    def test_all_that_lies_on_no_path(self, sparsity, rng):
        model = fill(models.perceptron((5, 5, 1), (30, 20), 4), rng, sparsity)
        before, after = report(model), report(compact(model))
        assert after.kept == after.effective == before.effective < before.kept

    def test_inputs_nobody_reads(self, rng):
        model = sequential((4,), dense(3))
        kernel = rng.normal(size=(4, 3)).astype("float32")
        kernel[[1, 2]] = 0
        model.layers[0].kernel.assign(kernel)
        compacted = compact(model)
        assert compacted.input_shape == (None, 4)
        np.testing.assert_array_equal(compacted.layers[-1].kernel, kernel[[0, 3]])
        assert compact(model, gather=0).layers[0].kernel.shape == (4, 3)

    @pytest.mark.parametrize(("gather", "rows"), [(0, 4), (0.5, 4), (0.75, 3), (1, 3)])
    def test_a_selection_has_to_be_small_enough(self, gather, rows):
        model = sequential((4,), dense(2))
        model.layers[0].kernel.assign([[1, 0], [0, 1], [0, 0], [1, 1]])
        assert compact(model, gather=gather).layers[-1].kernel.shape == (rows, 2)

    def test_channels_of_convolutions(self, rng):
        model = models.convnet((8, 8, 1), (4, 5), 3)
        for layer in (model.get_layer("conv_1"), model.get_layer("conv_2")):
            kernel = layer.kernel.numpy()
            kernel[..., 1] = 0
            layer.kernel.assign(kernel)
        compacted = compact(model, gather=0)
        assert compacted.get_layer("conv_1").filters == 3
        assert compacted.get_layer("conv_2").kernel.shape == (3, 3, 3, 4)
        assert compacted.get_layer("output").kernel.shape == (2 * 2 * 4, 3)

    def test_a_batch_normalisation_that_scales_by_zero(self):
        normalise = layers.BatchNormalization()
        model = sequential((3,), dense(2, None), normalise, dense(1, None))
        normalise.gamma.assign([1.0, 0.0])
        normalise.beta.assign([0.0, 5.0])
        model.layers[2].kernel.assign([[1.0], [2.0]])
        compacted = compact(model)
        assert compacted.layers[0].units == 1
        assert compacted.layers[2].bias.numpy().tolist() == [10.0]

    def test_a_model_that_has_lost_every_path(self):
        model = sequential((3,), dense(4), dense(2, None))
        for layer in model.layers:
            layer.kernel.assign(np.zeros(layer.kernel.shape))
        model.layers[1].bias.assign([1.0, 2.0])
        compacted = compact(model)
        np.testing.assert_array_equal(compacted(np.ones((1, 3))), [[1.0, 2.0]])
        assert compacted.layers[-2].units == 1


class TestPadding:
    """At a border, a padded convolution reads zeros in place of a constant."""

    def model(self, constants, padding="same"):
        model = sequential(
            (4, 4, 1), conv(len(constants)), conv(1, padding=padding, activation=None)
        )
        model.layers[0].kernel.assign(np.zeros(model.layers[0].kernel.shape))
        model.layers[0].bias.assign(constants)
        kernel = (
            np.ones(model.layers[1].kernel.shape)
            * np.arange(1, 1 + len(constants))[:, None]
        )
        model.layers[1].kernel.assign(kernel)
        return model

    def test_by_hand(self):
        compacted = compact(self.model([1.0]))
        outputs = compacted(np.zeros((1, 4, 4, 1)))[0, :, :, 0]
        # As many of the nine values of the kernel as lie inside the image.
        edge, middle = [4, 6, 6, 4], [6, 9, 9, 6]
        np.testing.assert_array_equal(outputs, [edge, middle, middle, edge])

    def test_one_channel_stands_in_for_all(self):
        model = self.model([1.0, 2.0, 4.0])
        compacted = compact(model)
        assert compacted.layers[0].filters == 1
        # (1 * 1 + 2 * 2 + 4 * 3) / 4 for each tap of the channel that is 4.
        np.testing.assert_allclose(
            compacted.layers[1].kernel, np.full((3, 3, 1, 1), 4.25)
        )
        x = np.zeros((1, 4, 4, 1))
        np.testing.assert_allclose(compacted(x), model(x))

    def test_zeros_go(self):
        compacted = compact(self.model([1.0, -1.0, 0.0]))
        assert compacted.layers[0].filters == 1

    def test_without_padding_the_bias_takes_it_all(self):
        model = self.model([1.0, 2.0], padding="valid")
        compacted = compact(model)
        # 9 * (1 * 1 + 2 * 2)
        assert compacted.layers[1].bias.numpy().tolist() == [45.0]
        assert not compacted.layers[1].kernel.numpy().any()

    def test_zero_padding_is_no_constant(self):
        model = sequential(
            (3, 3, 1), conv(1), layers.ZeroPadding2D(1), conv(1, 3, "valid", None)
        )
        model.layers[0].kernel.assign(np.zeros((3, 3, 1, 1)))
        model.layers[0].bias.assign([1.0])
        x = np.zeros((1, 3, 3, 1))
        np.testing.assert_array_equal(compact(model)(x), model(x))


class TestMasks:
    def masked(self, rng, make=lambda: models.convnet((8, 8, 1), (6, 8), 3)):
        model = fill(make(), rng, 0.0)
        install_masks(model)
        masks = {
            path: rng.random(mask.shape) < 0.15
            for path, mask in get_masks(model).items()
        }
        set_masks(model, masks)
        return model

    def test_are_gone_from_a_plain_model(self, rng):
        model = self.masked(rng, MODELS["attention"])
        compacted = compact(model)
        assert get_masks(compacted) == {}
        assert not [weight for weight in compacted.weights if weight.dtype == "bool"]
        assert get_masks(model)
        assert_same_function(model, compacted, inputs_of(model, rng))

    @pytest.mark.parametrize("name", ["convnet", "depthwise", "attention", "nested"])
    def test_are_carried_over(self, name, rng):
        model = self.masked(rng, MODELS[name])
        compacted = compact(model, keep_masks=True)
        assert_same_function(model, compacted, inputs_of(model, rng))
        masks, weights = get_masks(compacted), prunable_weights(compacted)
        assert set(masks) == set(weights)
        for path, mask in masks.items():
            np.testing.assert_array_equal(mask, weights[path].numpy() != 0)

    def test_hold_when_training_goes_on(self, rng):
        model = self.masked(rng)
        model.compile("sgd", "mse", jit_compile=False)
        compacted = compact(model, keep_masks=True)
        kept = report(compacted).kept
        compacted.fit(inputs_of(compacted, rng, 8), np.ones((8, 3)), verbose=0)
        assert report(compacted).kept == kept

    def test_a_users_constraint_stays(self, rng):
        layer = dense(4, kernel_constraint=keras.constraints.MaxNorm(2))
        model = fill(sequential((5,), layer, dense(2)), rng, 0.6)
        install_masks(model)
        layer = compact(model, gather=0).layers[0]
        assert isinstance(layer.kernel_constraint, keras.constraints.MaxNorm)

    def test_none_to_keep(self, rng):
        with pytest.raises(ValueError, match="`keep_masks`"):
            compact(MODELS["perceptron"](), keep_masks=True)


class TestModel:
    def test_is_plain_and_can_be_saved(self, rng, tmp_path):
        model = fill(MODELS["convnet"](), rng, 0.9)
        compacted = compact(model)
        compacted.save(tmp_path / "compacted.keras")
        loaded = keras.saving.load_model(tmp_path / "compacted.keras")
        assert_same_function(model, loaded, inputs_of(model, rng))
        assert all(
            type(operation).__module__.startswith("keras.")
            for operation in loaded.operations
        )

    def test_is_compiled_as_before(self, rng):
        model = fill(MODELS["perceptron"](), rng, 0.9)
        model.compile("sgd", "mse", jit_compile=False)
        x, y = inputs_of(model, rng), np.ones((5, 3))
        np.testing.assert_allclose(
            compact(model).evaluate(x, y, verbose=0),
            model.evaluate(x, y, verbose=0),
            rtol=1e-5,
        )

    def test_a_sequential_one_stays_sequential(self, rng):
        model = fill(MODELS["sigmoid"](), rng, 0.2)
        assert isinstance(compact(model, gather=0), keras.Sequential)

    def test_dropout_that_is_always_on_stays(self):
        inputs = keras.Input((4,))
        x = layers.Dropout(0.5)(dense(3)(inputs), training=True)
        model = keras.Model(inputs, dense(2)(x))
        model.layers[-1].kernel.assign(np.zeros((3, 2)))
        assert compaction_report(model).rows[0].units_after == 3

    def test_layers_keep_their_state(self):
        normalise = layers.Normalization()
        normalise.adapt(np.array([[1.0, 2.0], [3.0, 6.0]]))
        model = sequential((2,), normalise, dense(2))
        x = np.array([[1.0, 5.0]])
        np.testing.assert_allclose(compact(model)(x), model(x), rtol=1e-6)

    def test_subclasses_are_refused(self):
        class Own(keras.Model):
            def call(self, inputs):
                return inputs

        model = Own()
        model.build((None, 2))
        with pytest.raises(ValueError, match="Sequential or Functional"):
            compact(model)

    @pytest.mark.parametrize("gather", [-0.1, 1.5, "all"])
    def test_a_fraction_is_checked(self, gather):
        with pytest.raises(ValueError, match="`gather`"):
            compact(sequential((2,), dense(2)), gather=gather)

    def test_unbuilt_models_are_refused(self):
        with pytest.raises(ValueError, match="built"):
            compact(keras.Sequential([dense(2)]))


class TestReport:
    def test_by_hand(self):
        model = sequential(
            (4,),
            dense(3, name="hidden"),
            layers.LayerNormalization(name="norm"),
            dense(1, name="output"),
        )
        model.get_layer("hidden").kernel.assign(
            [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
        )
        hidden, norm, output = compaction_report(model).rows
        assert hidden.note == "reads 2 of 4 inputs, 1 constant unit stays"
        assert (hidden.units_before, hidden.units_after) == (3, 3)
        assert (hidden.parameters_before, hidden.parameters_after) == (15, 9)
        assert norm.note == "LayerNormalization is not compacted"
        assert output.parameters_after == 4

    def test_reads_as_a_table(self, rng):
        found = compaction_report(fill(MODELS["perceptron"](), rng, 0.9))
        lines = str(found).splitlines()
        assert len(lines) == 2 + 3 + 1
        assert lines[-1].split() == [
            "all",
            f"{found.parameters_before:,}",
            f"{found.parameters_after:,}",
        ]
        assert found.as_dict()["rows"][0]["path"] == "hidden_1"
        assert repr(found) == str(found)
        assert found._repr_html_().count("<tr>") == 1 + 3 + 1

    def test_names_take_the_room_that_notes_leave(self):
        long = "batch_normalization_12"
        middle = [layers.Dense(3, name="hidden"), layers.BatchNormalization(name=long)]
        model = keras.Sequential([keras.Input((4,)), *middle, layers.Dense(1)])
        assert f"\n{long} " in str(compaction_report(model))

    def test_its_notes_are_folded_into_80_columns(self):
        model = keras.Sequential([keras.Input((4,))])
        model.add(layers.LayerNormalization(name=40 * "ab"))
        lines = str(compaction_report(model)).splitlines()
        assert max(map(len, lines)) <= 80
        words = " ".join(lines).split()
        assert "compacted" in words


@pytest.mark.parametrize("gather", [0.0, 1.0])
def test_a_compacted_model_is_compiled_as_its_source(gather):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.layers[0].kernel.assign([[1.0, 1.0]] + 3 * [[0.0, 0.0]])
    assert not compact(model, gather=gather).compiled
    model.compile("sgd", "mse")
    assert compact(model, gather=gather).compiled
