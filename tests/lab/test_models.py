import itertools

import keras
import numpy as np
import pytest

from keras_initprune.lab.models import autoencoder, convnet, get, lenet5, perceptron

BUILDERS = [perceptron, autoencoder, convnet]


def kernels(model):
    return [layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")]


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
    for a, b in zip(kernels(model), kernels(loaded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_get():
    assert [get(builder.__name__) for builder in BUILDERS] == BUILDERS
    assert get(perceptron) is perceptron
    names = "'autoencoder', 'convnet', 'lenet5', 'perceptron'"
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
    ],
)
def test_wrong_arguments(builder, arguments, message):
    with pytest.raises(ValueError, match=message):
        builder(**arguments)
