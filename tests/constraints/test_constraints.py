import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from matrix import cells

import keras_initprune
from keras_initprune import (
    Layers,
    MaskConstraint,
    get_masks,
    install_masks,
    remove_masks,
    restore_masks,
    set_masks,
    sparsity,
)
from keras_initprune.constraints.weights import prunable_weights

layers = keras.layers


def chain(shape, *parts):
    tensor = inputs = keras.Input(shape)
    for part in parts:
        tensor = part(tensor)
    return keras.Model(inputs, tensor)


def attention_model():
    inputs = keras.Input((5, 8))
    attended = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(attended)))


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(6, activation="relu", name="hidden")
        self.head = layers.Dense(2, name="head")

    def call(self, inputs):
        return self.head(self.hidden(inputs))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    return model


MODELS = {
    "sequential": lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3)]),
    "functional": lambda: chain((4,), layers.Dense(6), layers.Dense(3)),
    "subclassed": subclassed,
    "nested": lambda: chain((4,), chain((4,), layers.Dense(5)), layers.Dense(3)),
    "einsum": lambda: chain((3, 4), layers.EinsumDense("abc,cd->abd", (3, 5))),
    "conv_1d": lambda: chain((9, 3), layers.Conv1D(4, 3)),
    "conv_2d": lambda: chain((8, 8, 3), layers.Conv2D(4, 3)),
    "conv_3d": lambda: chain((5, 5, 5, 2), layers.Conv3D(3, 2)),
    "conv_2d_transpose": lambda: chain((4, 4, 3), layers.Conv2DTranspose(5, 3)),
    "conv_1d_transpose": lambda: chain((4, 3), layers.Conv1DTranspose(5, 3)),
    "separable": lambda: chain((8, 8, 3), layers.SeparableConv2D(4, 3)),
    "depthwise": lambda: chain((8, 8, 3), layers.DepthwiseConv2D(3)),
    "simple_rnn": lambda: chain((5, 3), layers.SimpleRNN(4)),
    "lstm": lambda: chain((5, 3), layers.LSTM(4)),
    "gru": lambda: chain((5, 3), layers.GRU(4)),
    "bidirectional": lambda: chain((5, 3), layers.Bidirectional(layers.LSTM(4))),
    "attention": attention_model,
    "normalised": lambda: chain(
        (4,), layers.Dense(6), layers.BatchNormalization(), layers.Dense(3)
    ),
}


def prune_at_random(model, rng):
    install_masks(model)
    masks = {p: rng.random(m.shape) < 0.6 for p, m in get_masks(model).items()}
    set_masks(model, masks)
    return masks


def zeros(model):
    return {p: w.numpy() == 0 for p, w in prunable_weights(model).items()}


def data_for(model, rng, examples=16):
    x = rng.normal(size=(examples, *model.input_shape[1:])).astype("float32")
    y = rng.normal(size=(examples, *model.output_shape[1:])).astype("float32")
    return x, y


def assert_same(first, second):
    assert first.keys() == second.keys()
    for path in first:
        np.testing.assert_array_equal(first[path], second[path], err_msg=path)


@pytest.mark.parametrize(
    "kind",
    cells(
        [kind for kind in MODELS if kind != "subclassed"],
        by_default=["functional", "nested", "conv_2d", "gru", "attention"],
    ),
)
def test_masks_hold_in_training_and_after_reloading(kind, rng, tmp_path):
    model = MODELS[kind]()
    masks = prune_at_random(model, rng)
    removed = {path: ~mask for path, mask in masks.items()}
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    x, y = data_for(model, rng)
    model.fit(x, y, epochs=2, verbose=0)
    assert_same(zeros(model), removed)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(get_masks(loaded), masks)
    loaded.fit(x, y, epochs=2, verbose=0)
    assert_same(zeros(loaded), removed)


def test_masks_hold_in_a_subclassed_model(rng):
    model = subclassed()
    masks = prune_at_random(model, rng)
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    x = rng.normal(size=(16, 4)).astype("float32")
    model.fit(x, x[:, :2], epochs=2, verbose=0)
    assert_same(zeros(model), {path: ~mask for path, mask in masks.items()})


@pytest.mark.slow
def test_a_loaded_model_stays_sparse_in_another_process(rng, tmp_path, make_model):
    model = make_model()
    prune_at_random(model, rng)
    x = rng.normal(size=(32, 12)).astype("float32")
    model.fit(x, x[:, :3], verbose=0)
    before = {path: int(mask.sum()) for path, mask in get_masks(model).items()}
    model.save(tmp_path / "model.keras")
    script = f"""
import keras, numpy as np, keras_initprune
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
x = np.random.default_rng(1).normal(size=(32, 12)).astype("float32")
model.fit(x, x[:, :3], epochs=3, verbose=0)
kept = {{path: int((weight.numpy() != 0).sum())
        for path, weight in
        keras_initprune.constraints.weights.prunable_weights(model).items()}}
assert kept == {before!r}, kept
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_masks_are_non_trainable_weights_of_the_model(make_model):
    model = make_model()
    trainable = len(model.trainable_weights)
    install_masks(model)
    assert len(model.trainable_weights) == trainable
    assert sum(w.dtype == "bool" for w in model.non_trainable_weights) == 3


def test_cloned_models_get_masks_of_their_own(make_model, rng):
    model = make_model()
    masks = prune_at_random(model, rng)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_same(get_masks(clone), masks)
    set_masks(clone, {path: np.ones_like(mask) for path, mask in masks.items()})
    assert_same(get_masks(model), masks)


def test_what_a_mask_removes_is_zero_at_once(make_model, rng):
    model = make_model()
    masks = prune_at_random(model, rng)
    assert_same(zeros(model), {path: ~mask for path, mask in masks.items()})
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert sparsity(model) == pytest.approx(1 - kept / (12 * 16 + 16 * 8 + 8 * 3))


def test_optimizer_slots_of_removed_weights_are_cleared(
    make_model, regression_data, rng
):
    model = make_model(keras.optimizers.Adam(0.1, use_ema=True))
    install_masks(model)
    model.fit(*regression_data, verbose=0)
    masks = prune_at_random(model, rng)
    path, mask = next(iter(masks.items()))
    kernel = prunable_weights(model)[path].variable
    index = model.optimizer._get_variable_index(kernel)
    for slots in ("_momentums", "_velocities", "_model_variables_moving_average"):
        slot = keras.ops.convert_to_numpy(getattr(model.optimizer, slots)[index])
        assert (slot[~mask] == 0).all()
        assert (slot[mask] != 0).any()


def test_the_constraint_of_the_user_still_applies(regression_data):
    model = chain(
        (12,), layers.Dense(3, kernel_constraint=keras.constraints.UnitNorm())
    )
    install_masks(model)
    path, mask = next(iter(get_masks(model).items()))
    mask[::2] = False
    set_masks(model, {path: mask})
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    model.fit(*regression_data, verbose=0)
    kernel = prunable_weights(model)[path].numpy()
    assert (kernel[::2] == 0).all()
    assert np.allclose(np.linalg.norm(kernel, axis=0), 1, atol=1e-5)
    remove_masks(model)
    assert isinstance(model.layers[1].kernel_constraint, keras.constraints.UnitNorm)


def test_a_mask_stops_infinite_updates():
    constraint = MaskConstraint((2,))
    constraint.mask.assign([True, False])
    weight = keras.ops.convert_to_tensor([1.0, float("inf")])
    assert keras.ops.convert_to_numpy(constraint(weight)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("kind", ["functional", "separable", "lstm", "attention"])
def test_removing_masks_leaves_a_plain_model_of_the_same_function(kind, rng, tmp_path):
    model = MODELS[kind]()
    prune_at_random(model, rng)
    x, _ = data_for(model, rng)
    expected = model.predict(x, verbose=0)
    count = len(model.weights)
    assert remove_masks(model) is model
    assert get_masks(model) == {}
    assert len(model.weights) < count
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert "keras_initprune" not in model.to_json()
    model.save(tmp_path / "plain.keras")
    loaded = keras.models.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)


@pytest.mark.parametrize("kind", ["functional", "separable", "lstm", "attention"])
def test_restored_masks_are_the_zeros(kind, rng):
    model = MODELS[kind]()
    masks = prune_at_random(model, rng)
    restore_masks(remove_masks(model))
    assert_same(get_masks(model), masks)


def test_weights_alone_bring_masks_back_into_a_new_model(make_model, rng, tmp_path):
    model = make_model()
    masks = prune_at_random(model, rng)
    remove_masks(model).save_weights(tmp_path / "model.weights.h5")
    fresh = make_model()
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert_same(get_masks(restore_masks(fresh)), masks)


def test_masks_installed_after_training_hold(make_model, regression_data, rng):
    model = make_model()
    model.fit(*regression_data, verbose=0)
    masks = prune_at_random(model, rng)
    model.fit(*regression_data, verbose=0)
    assert_same(zeros(model), {path: ~mask for path, mask in masks.items()})


def test_installing_twice_changes_nothing(make_model, rng):
    model = make_model()
    masks = prune_at_random(model, rng)
    install_masks(model)
    assert_same(get_masks(model), masks)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("hidden_1", ["hidden_1/kernel"]),
        ("hidden_2/kernel", ["hidden_2/kernel"]),
        (re.compile(r"hidden_\d"), ["hidden_1/kernel", "hidden_2/kernel"]),
        (lambda weight: weight.size < 100, ["output/kernel"]),
        (["output", re.compile("1")], ["hidden_1/kernel", "output/kernel"]),
    ],
)
def test_layers_choose_by_name_pattern_or_predicate(make_model, chosen, expected):
    assert list(get_masks(install_masks(make_model(), chosen))) == expected


def test_the_output_layer_can_be_left_out(make_model):
    masks = get_masks(install_masks(make_model(), Layers(skip_output=True)))
    assert list(masks) == ["hidden_1/kernel", "hidden_2/kernel"]


def test_the_output_layer_is_found_behind_other_layers():
    model = chain((4,), layers.Dense(3, name="a"), layers.Dense(2, name="b"))
    wrapped = chain((4,), model, layers.Activation("softmax"))
    weights = prunable_weights(wrapped, Layers(skip_output=True))
    assert [path.split("/")[-2] for path in weights] == ["a"]


def test_embeddings_are_left_alone_unless_asked_for():
    model = chain((6,), layers.Embedding(10, 4), layers.Flatten(), layers.Dense(2))
    assert len(get_masks(install_masks(model))) == 1
    assert len(get_masks(install_masks(model, Layers(embeddings=True)))) == 2


def test_shared_layers_are_masked_once():
    shared = layers.Dense(4)
    model = chain((4,), shared, shared)
    assert len(get_masks(install_masks(model))) == 1


def test_layers_of_one_name_are_told_apart():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(3, name="twin")
            self.second = layers.Dense(3, name="twin")

        def call(self, inputs):
            return self.second(self.first(inputs))

    model = Twins()
    model(np.zeros((1, 3), "float32"))
    masks = get_masks(install_masks(model))
    assert list(masks) == ["twin/kernel", "twin/kernel#2"]


def test_same_architecture_has_the_same_keys_whatever_its_layers_are_called():
    first, second = MODELS["functional"](), MODELS["functional"]()
    assert list(prunable_weights(first)) != list(prunable_weights(second))
    keys = [
        [weight.key for weight in prunable_weights(model).values()]
        for model in (first, second)
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: install_masks(m, "hidden_9"), "`layers` must match .*hidden_1/kern"),
        (lambda m: install_masks(m, re.compile("x$")), r"Received: layers='x\$'"),
        (lambda m: install_masks(m, []), "`layers` must be a layer"),
        (lambda m: install_masks(m, [3]), "`layers` must be a layer"),
        (
            lambda m: set_masks(m, {"hidden_1/kernel": np.ones((12, 16))}),
            "carry a mask",
        ),
        (remove_masks, "carries no masks to remove"),
        (restore_masks, "carry no zeros"),
        (lambda m: install_masks("model"), "`model` must be a Keras model"),
    ],
)
def test_bad_requests_say_what_is_wrong(make_model, act, message):
    with pytest.raises(ValueError, match=message):
        act(make_model())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((3, 3)), r"of shape \(12, 16\). Received: .* \(3, 3\)"),
        (np.full((12, 16), 0.5), "holds only 0 and 1"),
        (np.full((12, 16), np.nan), "holds only 0 and 1"),
    ],
)
def test_bad_masks_change_nothing(make_model, mask, message):
    model = install_masks(make_model())
    good = np.eye(8, 3, dtype=bool)
    with pytest.raises(ValueError, match=message):
        set_masks(model, {"output/kernel": good, "hidden_1/kernel": mask})
    assert sparsity(model) == 0


def test_unbuilt_models_are_refused():
    with pytest.raises(ValueError, match="is not built yet"):
        install_masks(keras.Sequential([layers.Dense(3)]))


def test_models_without_kernels_are_refused():
    with pytest.raises(ValueError, match="has nothing to prune"):
        install_masks(chain((4,), layers.BatchNormalization()))


def test_subclassed_models_have_no_known_output_layer():
    with pytest.raises(ValueError, match="needs a Sequential or Functional model"):
        install_masks(subclassed(), Layers(skip_output=True))


def test_a_tensor_of_zeros_is_no_mask(make_model):
    model = make_model()
    model.layers[1].kernel.assign(keras.ops.zeros((16, 8)))
    with pytest.raises(ValueError, match="All weights of 'hidden_2/kernel' are zero"):
        restore_masks(model)


def test_masks_have_no_part_in_the_exported_function(make_model, rng):
    model = make_model()
    prune_at_random(model, rng)
    import tensorflow as tf

    signature = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((None, 12))
    )
    operations = {operation.type for operation in signature.graph.get_operations()}
    assert not operations & {"Select", "SelectV2", "Cast"}


def test_public_names_are_the_documented_ones():
    assert set(keras_initprune.__all__) <= set(dir(keras_initprune))
