import itertools

import keras
import numpy as np
import pytest

from keras_initprune import prune, sparsity
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.lab.models import (
    autoencoder,
    convnet,
    get,
    lenet5,
    perceptron,
    resnet,
    vit,
)

BUILDERS = [perceptron, autoencoder, convnet, resnet, vit]


def kernels(model):
    return [weight.numpy() for weight in prunable_weights(model).values()]


def names(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1)])
def test_output_shapes(builder, shape):
    model = builder(input_shape=shape, seed=0)
    assert not model.compiled
    expected = (4, *shape) if builder is autoencoder else (4, 10)
    assert model(np.zeros((4, *shape), np.float32)).shape == expected


@pytest.mark.parametrize("builder", BUILDERS)
def test_training_lowers_the_loss(builder):
    model = builder(input_shape=(8, 8, 1), seed=0)
    x = np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)
    if builder is autoencoder:
        y, loss = x, "mse"
    else:
        y = np.arange(4)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, run_eagerly=True)
    losses = [model.train_on_batch(x, y) for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("builder", BUILDERS)
def test_seed_decides_the_weights_but_not_alike_for_all(builder):
    first, same, other = builder(seed=0), builder(seed=0), builder(seed=1)
    for a, b, c in zip(kernels(first), kernels(same), kernels(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("initializer", "seed"),
    [
        ("he_normal", 0),
        ("he_normal", None),
        (keras.initializers.GlorotUniform(seed=3), None),
        (keras.initializers.GlorotUniform(), None),
        (keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(3)), None),
    ],
    ids=["seed", "chance", "own seed", "instance", "generator"],
)
def test_layers_of_one_shape_differ(initializer, seed):
    model = perceptron((2, 2, 1), (4, 4), 4, kernel_initializer=initializer, seed=seed)
    first, second, third = kernels(model)
    assert first.shape == second.shape == third.shape
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


@pytest.mark.parametrize("seed", [0, None])
def test_no_two_kernels_of_one_shape_begin_equal(seed):
    for builder in (resnet, vit):
        for one, other in itertools.combinations(kernels(builder(seed=seed)), 2):
            assert one.shape != other.shape or not np.array_equal(one, other)


def test_the_projections_of_attention_begin_like_dense_layers():
    kernel = prunable_weights(vit(seed=0))["attention_1/query/kernel"].numpy()
    assert kernel.shape == (64, 4, 16)
    # Glorot: uniform up to sqrt(6 / (inputs + outputs)).
    bound = np.sqrt(6 / (64 + 64))
    assert 0.98 * bound < np.abs(kernel).max() <= bound


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_kernel_can_be_pruned(builder):
    model = builder((8, 8, 1), seed=0)
    named = [v for v in model.trainable_variables if v.name == "kernel"]
    found = [weight.variable for weight in prunable_weights(model).values()]
    assert {id(v) for v in found} == {id(v) for v in named}
    # What is left are vectors, and a bias for every position.
    rest = [v for v in model.trainable_variables if v.name != "kernel"]
    assert {v.name for v in rest if len(v.shape) > 1} <= {"bias"}
    prune(model, "magnitude", 0.9)
    assert sparsity(model) == pytest.approx(0.9, abs=1e-4)


def test_the_initializers_own_seed_counts():
    def build(seed):
        initializer = keras.initializers.HeNormal(seed=seed)
        return kernels(perceptron((2, 2, 1), (4,), kernel_initializer=initializer))

    np.testing.assert_array_equal(build(3)[0], build(3)[0])
    assert not np.array_equal(build(3)[0], build(4)[0])


def test_initializers_without_a_seed():
    model = perceptron((2, 2, 1), (4,), kernel_initializer="ones", seed=0)
    assert all((kernel == 1).all() for kernel in kernels(model))


def test_layer_names():
    assert names(perceptron()) == [
        "images",
        "flatten",
        "hidden_1",
        "hidden_2",
        "output",
    ]
    assert names(autoencoder()) == [
        "images",
        "flatten",
        "encoder_1",
        "encoder_2",
        "bottleneck",
        "decoder_1",
        "decoder_2",
        "reconstruction",
        "reshape",
    ]
    assert names(convnet()) == [
        "images",
        "conv_1",
        "pool_1",
        "conv_2",
        "pool_2",
        "flatten",
        "output",
    ]


def test_sizes_by_hand():
    assert [k.shape for k in kernels(perceptron())] == [
        (784, 300),
        (300, 100),
        (100, 10),
    ]
    widths = [784, 256, 64, 16, 64, 256, 784]
    shapes = list(itertools.pairwise(widths))
    assert [k.shape for k in kernels(autoencoder())] == shapes
    shapes = [(3, 3, 1, 32), (3, 3, 32, 64), (2 * 2 * 64, 10)]
    assert [k.shape for k in kernels(convnet((8, 8, 1)))] == shapes


def test_a_residual_network_has_two_convolutions_a_block_and_shortcuts():
    shapes = [kernel.shape for kernel in kernels(resnet(filters=(2, 3), blocks=2))]
    first = [(3, 3, 1, 2), *[(3, 3, 2, 2)] * 4]
    # The first block of a later stage changes the shape, and so does its shortcut.
    second = [(3, 3, 2, 3), (1, 1, 2, 3), *[(3, 3, 3, 3)] * 3]
    assert sorted(shapes) == sorted([*first, *second, (3, 10)])


@pytest.mark.parametrize(
    ("shape", "patch_size", "patches", "pixels"),
    [
        ((28, 28, 1), None, 16, 49),
        ((8, 8, 1), None, 16, 4),
        ((8, 12, 3), 4, 6, 48),
        ((3, 3, 1), None, 9, 1),
    ],
)
def test_patches_are_squares_of_the_image(shape, patch_size, patches, pixels):
    model = vit(shape, depth=1, patch_size=patch_size)
    assert model.get_layer("patches").output.shape == (None, patches, pixels)
    cut = keras.Model(model.input, model.get_layer("patches").output)
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    size = int((pixels / shape[-1]) ** 0.5)
    first = keras.ops.convert_to_numpy(cut(image))[0, 0]
    np.testing.assert_array_equal(first, image[0, :size, :size].ravel())


def test_logits_and_images():
    x = np.ones((2, 8, 8, 1), np.float32)
    assert perceptron((8, 8, 1), seed=0).get_layer("output").activation(-1.0) == -1.0
    outputs = autoencoder((8, 8, 1), seed=0)(x).numpy()
    assert outputs.min() >= 0
    assert outputs.max() <= 1


@pytest.mark.parametrize("builder", BUILDERS)
def test_saving(builder, tmp_path):
    model = builder((8, 8, 1), seed=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.name == builder.__name__
    # Nothing of this package is needed to load them.
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
    for a, b in zip(kernels(model), kernels(loaded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_get():
    assert [get(builder.__name__) for builder in BUILDERS] == BUILDERS
    assert get(perceptron) is perceptron
    names = "'autoencoder', 'convnet', 'lenet5', 'perceptron', 'resnet', 'vit'"
    with pytest.raises(ValueError, match=names):
        get("transformer")


def test_lenet5_is_that_of_the_literature():
    model = get("lenet5")(seed=0)
    shapes = [kernel.shape for kernel in kernels(model)]
    assert shapes == [(5, 5, 1, 20), (5, 5, 20, 50), (800, 500), (500, 10)]
    assert model(np.zeros((2, 28, 28, 1), np.float32)).shape == (2, 10)
    assert lenet5((16, 16, 1)).output_shape == (None, 10)


@pytest.mark.parametrize(
    ("builder", "arguments", "message"),
    [
        (perceptron, {"input_shape": 784}, "`input_shape`"),
        (perceptron, {"input_shape": (784,)}, "height, width, channels"),
        (perceptron, {"input_shape": (28, 0, 1)}, r"`input_shape\[1\]`"),
        (perceptron, {"hidden_units": 300}, "`hidden_units`"),
        (perceptron, {"hidden_units": ()}, "at least one"),
        (perceptron, {"hidden_units": (300, 0.5)}, r"`hidden_units\[1\]`"),
        (perceptron, {"num_classes": 0}, "`num_classes`"),
        (perceptron, {"seed": 0.5}, "`seed`"),
        (autoencoder, {"hidden_units": "256"}, "`hidden_units`"),
        (autoencoder, {"bottleneck_units": -1}, "`bottleneck_units`"),
        (convnet, {"filters": (0,)}, r"`filters\[0\]`"),
        (convnet, {"num_classes": True}, "`num_classes`"),
        (convnet, {"input_shape": (3, 28, 1)}, "at least 4"),
        (convnet, {"kernel_size": 0}, "`kernel_size`"),
        (convnet, {"padding": "causal"}, "`padding`"),
        (convnet, {"hidden_units": (0,)}, r"`hidden_units\[0\]`"),
        (lenet5, {"input_shape": (8, 8, 1)}, "at least 16"),
        (resnet, {"filters": (16, 0)}, r"`filters\[1\]`"),
        (resnet, {"blocks": 0}, "`blocks`"),
        (resnet, {"num_classes": 0}, "`num_classes`"),
        (vit, {"width": 0}, "`width`"),
        (vit, {"hidden_units": 0}, "`hidden_units`"),
        (vit, {"depth": 1.5}, "`depth`"),
        (vit, {"heads": 0}, "`heads`"),
        (vit, {"num_classes": 0}, "`num_classes`"),
        (vit, {"patch_size": 0}, "`patch_size`"),
        (vit, {"patch_size": 5}, "`patch_size` must divide"),
        (vit, {"input_shape": (28, 30, 1)}, "`patch_size` must divide"),
    ],
)
def test_wrong_arguments(builder, arguments, message):
    with pytest.raises(ValueError, match=message):
        builder(**arguments)
