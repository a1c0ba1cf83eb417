"""Which weights are found, in which layers, and how they are selected."""

import inspect
import warnings

import keras
import numpy as np
import pytest
from matrix import cells

from keras_initprune import (
    Layers,
    RandomPruning,
    get_masks,
    install_masks,
    prune,
    register_prunable,
    remove_masks,
    report,
    set_masks,
    sparsity,
)
from keras_initprune.constraints.weights import prunable_weights

layers = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Projection(keras.layers.Layer):
    """Multiplies by `w`, the transpose of what a dense layer has, and has no bias."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight(shape=(self.units, input_shape[-1]), name="w")
        self.gain = None

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.w))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pytest.fixture
def registered(monkeypatch):
    """Register `Projection` while a test runs."""
    monkeypatch.setattr("keras_initprune.constraints.weights._REGISTERED", {})
    register_prunable(Projection, "w", "gain", unit_axes=(0,))


def own_model():
    return keras.Sequential(
        [keras.Input((16,)), Projection(8, name="own"), layers.Dense(4, name="head")]
    )


def assert_same_masks(first, second):
    first, second = get_masks(first), get_masks(second)
    assert first.keys() == second.keys()
    for path, mask in first.items():
        np.testing.assert_array_equal(second[path], mask, path)


def conv_lstm(rank):
    layer = getattr(layers, f"ConvLSTM{rank}D")(3, 2, name="cells")
    return keras.Sequential(
        [
            keras.Input((3, *[5] * rank, 2)),
            layer,
            layers.Flatten(),
            layers.Dense(4, name="head"),
        ]
    )


# Every layer of Keras with a trainable weight of two or more dimensions, as (shape of
# its input, layer, what of it is pruned); the others name why nothing is.
SEQUENCE, IMAGE = (6, 4), (6, 6, 2)
PRUNED = {
    "Dense": ((4,), lambda: layers.Dense(3), ["kernel"]),
    "EinsumDense": (
        (4,),
        lambda: layers.EinsumDense("ab,bc->ac", 3, bias_axes="c"),
        ["kernel"],
    ),
    "Conv1D": (SEQUENCE, lambda: layers.Conv1D(3, 2), ["kernel"]),
    "Conv2D": (IMAGE, lambda: layers.Conv2D(3, 2), ["kernel"]),
    "Conv3D": ((4, 4, 4, 2), lambda: layers.Conv3D(3, 2), ["kernel"]),
    "Conv1DTranspose": (SEQUENCE, lambda: layers.Conv1DTranspose(3, 2), ["kernel"]),
    "Conv2DTranspose": (IMAGE, lambda: layers.Conv2DTranspose(3, 2), ["kernel"]),
    "Conv3DTranspose": (
        (4, 4, 4, 2),
        lambda: layers.Conv3DTranspose(3, 2),
        ["kernel"],
    ),
    "DepthwiseConv1D": (SEQUENCE, lambda: layers.DepthwiseConv1D(2), ["kernel"]),
    "DepthwiseConv2D": (IMAGE, lambda: layers.DepthwiseConv2D(2), ["kernel"]),
    "SeparableConv1D": (
        SEQUENCE,
        lambda: layers.SeparableConv1D(3, 2),
        ["depthwise_kernel", "pointwise_kernel"],
    ),
    "SeparableConv2D": (
        IMAGE,
        lambda: layers.SeparableConv2D(3, 2),
        ["depthwise_kernel", "pointwise_kernel"],
    ),
    "SimpleRNN": (
        SEQUENCE,
        lambda: layers.SimpleRNN(3),
        ["kernel", "recurrent_kernel"],
    ),
    "LSTM": (SEQUENCE, lambda: layers.LSTM(3), ["kernel", "recurrent_kernel"]),
    "GRU": (SEQUENCE, lambda: layers.GRU(3), ["kernel", "recurrent_kernel"]),
    "ConvLSTM1D": (
        (3, 5, 2),
        lambda: layers.ConvLSTM1D(3, 2),
        ["kernel", "recurrent_kernel"],
    ),
    "ConvLSTM2D": (
        (3, 5, 5, 2),
        lambda: layers.ConvLSTM2D(3, 2),
        ["kernel", "recurrent_kernel"],
    ),
    "ConvLSTM3D": (
        (3, 4, 4, 4, 2),
        lambda: layers.ConvLSTM3D(3, 2),
        ["kernel", "recurrent_kernel"],
    ),
    "ReversibleEmbedding": (
        (6,),
        lambda: layers.ReversibleEmbedding(9, 4, tie_weights=False),
        ["reverse_embeddings"],
    ),
}
ATTENTION = {
    "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 3),
    "GroupQueryAttention": lambda: layers.GroupQueryAttention(3, 2, 2),
}
NOT_PRUNED = {
    "Embedding": "a table, pruned with `Layers(embeddings=True)`",
    "PReLU": "slopes of an activation",
    "BatchNormalization": "one axis: vectors",
    "LayerNormalization": "scales, of several dimensions over several axes",
    "GroupNormalization": "one axis: vectors",
    "RMSNormalization": "scales",
    "AdditiveAttention": "a vector",
    "Attention": "a scalar",
    "Normalization": "statistics, not trained",
    "SpectralNormalization": "wraps a layer, whose kernel is pruned",
    "STFTSpectrogram": "a fixed transform, not trained",
    "RNN": "wraps cells, whose kernels are pruned",
    "JaxLayer": "runs on another backend",
    "FlaxLayer": "runs on another backend",
    "TFSMLayer": "a SavedModel, whose variables are not Keras'",
}
# Cells are tested in the layers that they belong to.
CELLS = {"SimpleRNNCell", "LSTMCell", "GRUCell"}


def makes_weights(layer_class):
    """Return whether Keras adds a weight in a class or one that it derives from."""
    bases = [base for base in layer_class.__mro__ if base is not keras.layers.Layer]
    code = [inspect.getsource(b) for b in bases if "keras.src.layers" in b.__module__]
    return any("add_weight(" in text or "Variable(" in text for text in code[:-1])


def test_every_layer_of_keras_with_weights_is_known():
    classes = {
        value.__name__: value
        for value in vars(layers).values()
        if inspect.isclass(value) and issubclass(value, keras.layers.Layer)
    }
    known = {*PRUNED, *ATTENTION, *NOT_PRUNED, *CELLS}
    found = {name for name, value in classes.items() if makes_weights(value)}
    wrappers = {"Layer", "Wrapper"}
    assert found - known - wrappers == set()


@pytest.mark.parametrize("name", PRUNED)
def test_a_layer_is_pruned(name):
    shape, make, expected = PRUNED[name]
    dtype = "int32" if "Embedding" in name else "float32"
    model = keras.Sequential([keras.Input(shape, dtype=dtype), make()])
    if "Embedding" in name:
        model.add(layers.Lambda(lambda rows: rows, output_shape=lambda s: s))
    found = [path.split("/")[-1] for path in prunable_weights(model)]
    assert found == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        install_masks(model)


@pytest.mark.parametrize("name", ATTENTION)
def test_projections_of_attention_are_pruned(name):
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, ATTENTION[name]()(inputs, inputs))
    parts = [path.split("/")[-2] for path in prunable_weights(model)]
    assert [p.removeprefix("attention_") for p in parts] == [
        "query",
        "key",
        "value",
        "output",
    ]


@pytest.mark.parametrize("rank", cells([1, 2, 3], by_default=[2]))
def test_conv_lstm_is_pruned_trained_and_saved(rank, rng, tmp_path):
    model = conv_lstm(rank)
    prune(model, "magnitude", 0.7)
    cells = {p: m for p, m in get_masks(model).items() if p.startswith("cells/")}
    assert len(cells) == 2
    assert not any(mask.all() for mask in cells.values())
    model.compile("adam", "mse", jit_compile=False)
    x = rng.normal(size=(8, *model.input_shape[1:])).astype("float32")
    model.fit(x, np.ones((8, 4)), verbose=0)
    assert sparsity(model) == pytest.approx(0.7, abs=0.01)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_masks(loaded, model)


def test_conv_lstm_counts_what_it_multiplies():
    rows = {row.path.split("/")[-1]: row for row in report(conv_lstm(2)).rows[:2]}
    # 3 time steps, 4 x 4 positions that a kernel of 2 x 2 has on 5 x 5.
    for name, channels in (("kernel", 2), ("recurrent_kernel", 3)):
        assert rows[name].parameters == 2 * 2 * channels * 12
        assert rows[name].flops_dense == 2 * 3 * 16 * rows[name].parameters
        assert rows[name].effective == rows[name].parameters


def test_the_untied_projection_of_an_embedding_is_pruned(rng, tmp_path):
    tokens = keras.Input((3,), dtype="int32")
    table = layers.ReversibleEmbedding(20, 8, tie_weights=False, name="table")
    hidden = layers.Dense(8, name="hidden")(table(tokens))
    model = keras.Model(tokens, table(hidden, reverse=True))
    prune(model, "magnitude", 0.5)
    assert list(get_masks(model)) == ["table/reverse_embeddings", "hidden/kernel"]
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    x = rng.integers(0, 20, (16, 3))
    model.fit(x, x, verbose=0)
    assert sparsity(model) == pytest.approx(0.5, abs=0.01)
    model.save(tmp_path / "model.keras")
    assert_same_masks(keras.models.load_model(tmp_path / "model.keras"), model)
    rows = {row.path: row for row in report(model, layers=Layers(embeddings=True)).rows}
    assert rows["table/embeddings"].flops_dense == 0
    assert rows["table/reverse_embeddings"].flops_dense == 2 * 3 * 8 * 20


def test_registered_weights_are_pruned_trained_and_taken_off(registered, rng):
    model = own_model()
    assert list(prunable_weights(model)) == ["own/w", "head/kernel"]
    prune(model, "magnitude", 0.75)
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    x = rng.normal(size=(32, 16)).astype("float32")
    model.fit(x, np.ones((32, 4)), epochs=2, verbose=0)
    mask = get_masks(model)["own/w"]
    assert mask.shape == (8, 16)
    np.testing.assert_array_equal(model.layers[0].w.numpy() != 0, mask)
    row = report(model).rows[0]
    assert (row.kept, row.flops_dense) == (mask.sum(), 2 * 8 * 16)
    remove_masks(model)
    assert [weight.shape for weight in model.weights] == [(8, 16), (8, 4), (4,)]


def test_masks_of_registered_weights_are_saved_and_loaded(registered, tmp_path, rng):
    model = own_model()
    prune(model, "magnitude", 0.75)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_masks(loaded, model)
    loaded.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    loaded.fit(rng.normal(size=(32, 16)), np.ones((32, 4)), verbose=0)
    assert sparsity(loaded) == pytest.approx(0.75)
    other = own_model()
    other.set_weights(model.get_weights())
    assert_same_masks(other, model)


def test_units_of_registered_weights_lie_where_it_is_said(registered):
    model = own_model()
    prune(model, "magnitude", 0.75, pattern="unit", layers="own")
    assert get_masks(model)["own/w"].sum(axis=1).tolist() == [4] * 8


def test_a_dead_unit_of_a_registered_weight_is_not_effective(registered):
    model = install_masks(own_model())
    mask = np.ones((8, 16), bool)
    mask[0] = False
    set_masks(model, {"own/w": mask})
    assert report(model).rows[1].effective == 7 * 4


def test_a_registered_weight_keeps_a_constraint_of_its_own(registered, tmp_path):
    model = own_model()
    model.layers[0].w.constraint = keras.constraints.NonNeg()
    remove_masks(install_masks(model))
    assert isinstance(model.layers[0].w.constraint, keras.constraints.NonNeg)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, "w"), "`layer_class` must be a subclass"),
        ((layers.Dense(1), "w"), "`layer_class` must be a subclass"),
        ((keras.Model, "w"), "`layer_class` must be a subclass"),
        ((Projection,), "`weights` must be one or more"),
        ((Projection, 3), "`weights` must be one or more"),
        ((Projection, ""), "`weights` must be one or more"),
    ],
)
def test_what_cannot_be_registered_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        register_prunable(*arguments)


def test_a_registered_weight_that_a_layer_lacks_is_named(monkeypatch):
    monkeypatch.setattr("keras_initprune.constraints.weights._REGISTERED", {})
    register_prunable(Projection, "v")
    with pytest.raises(ValueError, match=r"'own' .* has no attribute `v`"):
        prune(own_model(), "magnitude", 0.5)


def test_axes_of_units_that_a_weight_lacks_are_named(monkeypatch):
    monkeypatch.setattr("keras_initprune.constraints.weights._REGISTERED", {})
    register_prunable(Projection, "w", unit_axes=(2,))
    with pytest.raises(ValueError, match=r"`unit_axes`.*'w'.*2 dimensions"):
        prune(own_model(), "magnitude", 0.5)


def test_what_is_left_out_is_named_once(rng):
    model = own_model()
    with pytest.warns(UserWarning, match=r"80%.*'own/w' of Projection \(128\)") as seen:
        prune(model, "magnitude", 0.5)
    assert sum(w.category is UserWarning for w in seen) == 1
    # From here on errors, as everywhere in the tests.
    prune(model, "magnitude", 0.6)
    model.compile("adam", "mse", run_eagerly=True)
    x = rng.normal(size=(8, 16)).astype("float32")
    model.fit(x, np.ones((8, 4)), verbose=0, callbacks=[RandomPruning(0.7)])
    report(model)


def test_callbacks_name_what_is_left_out(rng):
    model = own_model()
    model.compile("adam", "mse", run_eagerly=True)
    x = rng.normal(size=(8, 16)).astype("float32")
    with pytest.warns(UserWarning, match="'own/w'"):
        model.fit(x, np.ones((8, 4)), verbose=0, callbacks=[RandomPruning(0.5)])


def test_a_weight_of_a_model_itself_is_named():
    class Mixing(keras.Model):
        def build(self, input_shape):
            self.mix = self.add_weight(shape=(16, 16), name="mix")
            self.head = layers.Dense(4)
            self.head.build(input_shape)

        def call(self, inputs):
            return self.head(keras.ops.matmul(inputs, self.mix))

    model = Mixing(name="mixing")
    model(np.zeros((1, 16), "float32"))
    with pytest.warns(UserWarning, match=r"'mixing/mix' of Mixing \(256\)"):
        install_masks(model)


def test_what_is_chosen_small_or_left_out_by_choice_is_not_named():
    prune(own_model(), "magnitude", 0.5, layers="head")
    small = [keras.Input((16,)), Projection(1), layers.Dense(1000)]
    prune(keras.Sequential(small), "magnitude", 0.5)
    table = [keras.Input((3,)), layers.Embedding(500, 8), layers.Dense(4)]
    prune(keras.Sequential(table), "magnitude", 0.5)
    scales = [
        keras.Input((8, 8)),
        layers.Dense(8),
        layers.PReLU(),
        layers.LayerNormalization(axis=(1, 2)),
        layers.GRU(2),
    ]
    prune(keras.Sequential(scales), "magnitude", 0.5)


def test_a_model_of_nothing_but_own_layers_says_what_to_do():
    model = keras.Sequential([keras.Input((4,)), Projection(3)])
    with pytest.raises(ValueError, match="`register_prunable` names them"):
        prune(model, "magnitude", 0.5)


def two_layers():
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, name="a"), layers.Dense(4, name="b")]
    )


def test_a_layer_is_a_selector():
    model = two_layers()
    assert list(prunable_weights(model, model.layers[0])) == ["a/kernel"]
    chosen = prunable_weights(model, [model.layers[1], "a"])
    assert list(chosen) == ["a/kernel", "b/kernel"]


def test_a_nested_model_selects_all_that_is_in_it():
    encoder = two_layers()
    model = keras.Sequential([encoder, layers.Dense(2, name="head")])
    model.build((None, 8))
    assert len(prunable_weights(model, encoder)) == 2
    prune(model, "magnitude", 0.5, layers=encoder)
    assert sparsity(model, layers="head") == 0


def test_a_layer_of_another_model_selects_nothing():
    with pytest.raises(ValueError, match="`layers` must match at least one"):
        prunable_weights(two_layers(), two_layers().layers[0])


@pytest.mark.parametrize(
    "layers", [3, [], (), [3], {}, object(), b"a", layers.Dense, np.ones(2), 0.5, True]
)
def test_what_is_no_selector_is_refused(layers):
    for call in (prunable_weights, sparsity, install_masks):
        with pytest.raises(ValueError, match="`layers` must be a layer"):
            call(two_layers(), layers=layers)
    with pytest.raises(ValueError, match="`select` must be a layer"):
        Layers(layers)


@pytest.mark.parametrize("name", ["skip_output", "embeddings"])
@pytest.mark.parametrize("value", ["nope", 1, None, [], float("nan")])
def test_what_is_no_boolean_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be True or False"):
        Layers(**{name: value})


def lora(model):
    model.layers[0].enable_lora(2)


def int4(model):
    model.layers[0].quantize("int4")


def int8(model):
    model.layers[0].quantize("int8")


def frozen(model):
    model.layers[0].trainable = False


@pytest.mark.parametrize("change", [lora, int4, int8, frozen])
def test_what_is_not_selected_is_not_judged(change):
    model = two_layers()
    change(model)
    prune(model, "magnitude", 0.5, layers="b")
    assert list(get_masks(model)) == ["b/kernel"]
    assert sparsity(model, layers="b") == 0.5
    remove_masks(model)
    assert install_masks(model, model.layers[1]) is model


@pytest.mark.parametrize("change", [lora, int4])
def test_what_is_computed_is_judged_where_it_is_selected(change):
    model = two_layers()
    change(model)
    for chosen in (None, "a"):
        with pytest.raises(ValueError, match=r"`kernel` of layer 'a' is computed"):
            prune(model, "magnitude", 0.5, layers=chosen)


def test_a_mask_that_keeps_nothing_is_refused():
    model = install_masks(two_layers())
    with pytest.raises(ValueError, match=r"`masks` must give 'a/kernel' .* at least"):
        set_masks(model, {"b/kernel": np.eye(8, 4), "a/kernel": np.zeros((8, 8))})
    assert all(mask.all() for mask in get_masks(model).values())


@pytest.mark.parametrize("masks", [3, None, "a", [], np.ones(2), object()])
def test_masks_are_a_dictionary(masks):
    with pytest.raises(ValueError, match="`masks` must be a dictionary"):
        set_masks(install_masks(two_layers()), masks)


@pytest.mark.parametrize(
    "mask", [None, 1, "yes", [[1, 0], [1]], np.full((8, 8), np.nan), np.full((8, 8), 2)]
)
def test_a_mask_is_an_array_of_zeros_and_ones(mask):
    with pytest.raises(ValueError, match="`masks` must give 'a/kernel' an array"):
        set_masks(install_masks(two_layers()), {"a/kernel": mask})
