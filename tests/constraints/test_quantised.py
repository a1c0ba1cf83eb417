"""Quantised models: pruned first, without masks, and counted as what they compute."""

import keras
import numpy as np
import pytest
from keras import layers
from matrix import cells

from keras_initprune import (
    Layers,
    compact,
    export,
    get_masks,
    prune,
    remove_masks,
    report,
    sparsity,
    to_sparse,
)

MODES = ["int8", "int4", "float8"]


@pytest.fixture
def model(rng):
    """Weights of a few sizes, so that none is rounded to zero."""
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(32, "relu", name="a"),
            layers.EinsumDense("ab,bcd->acd", (4, 6), name="b"),
            layers.Flatten(),
            layers.Dense(4, name="c"),
        ]
    )
    for weight in model.trainable_weights:
        weight.assign(rng.uniform(0.7, 1, weight.shape) * rng.choice([-1, 1]))
    return prune(model, "random", 0.8)


def counts(model):
    found = report(model)
    return [
        (row.path, row.shape, row.kept, row.effective, row.flops_dense)
        for row in found.rows
    ]


@pytest.mark.parametrize("filters", [None, "a"])
@pytest.mark.parametrize("mode", MODES)
def test_masks_come_off_before(mode, filters, model):
    """Keras leaves out layers with sublayers, which masks are."""
    masks = get_masks(model)
    with pytest.raises(ValueError, match=r"call `remove_masks\(model\)` first"):
        model.quantize(mode, filters=filters)
    assert all(layer.quantization_mode is None for layer in model.layers)
    assert get_masks(model).keys() == masks.keys()


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", cells(MODES, by_default=["int8"]))
def test_zeros_stay_and_are_counted(mode, model):
    before, fraction = counts(model), sparsity(model)
    total = report(model).total_parameters
    remove_masks(model).quantize(mode)
    assert model.get_layer("a").quantization_mode == mode
    assert counts(model) == before
    assert sparsity(model) == fraction
    extra = sum(
        int(np.prod(weight.shape))
        for weight in model.weights
        if weight.name not in ("kernel", "bias")
    )
    assert report(model).total_parameters == total + extra
    # As it was: Keras' own kernels are in place again.
    assert model.get_layer("a").quantization_mode == mode


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", cells(MODES, by_default=["int8"]))
def test_removed_weights_compute_exact_zeros(mode, rng):
    """Weights of all sizes and of one sign, which leaves 0 at the end of the range."""
    layer = layers.Dense(32, use_bias=False)
    model = keras.Sequential([keras.Input((16,)), layer])
    layer.kernel.assign(rng.uniform(0, 1, (16, 32)) ** 4 + 1e-4)
    (mask,) = get_masks(prune(model, "random", 0.8)).values()
    remove_masks(model).quantize(mode)
    computed = keras.ops.convert_to_numpy(model(np.eye(16, dtype="float32")))
    assert not computed[~mask].any()
    assert computed[mask].any()
    if mode == "int8":
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        assert kernel.dtype == np.int8
        assert not kernel[~mask].any()


def test_a_kernel_with_lora_is_the_sum(model):
    before = counts(remove_masks(model))
    layer = model.get_layer("a")
    layer.enable_lora(2)
    assert counts(model) == before
    layer.lora_kernel_b.assign(np.ones((2, 32)))
    assert counts(model)[0][2] == 16 * 32


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", cells(["int8", "int4"], by_default=["int8"]))
def test_embeddings(mode):
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), layers.Embedding(10, 8, name="words")]
    )
    table = np.ones((10, 8)) * (np.arange(8) % 2)
    model.get_layer("words").embeddings.assign(table)
    model.quantize(mode)
    assert report(model, layers=Layers(embeddings=True)).kept == 40


@pytest.mark.tf_only
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantised_layers_do_not_become_sparse(model, rng, capsys):
    remove_masks(model).quantize("int8")
    x = rng.normal(size=(3, 16)).astype("float32")
    sparse = to_sparse(model, threshold=0, smallest=1, verbose=1)
    np.testing.assert_allclose(sparse(x), model(x), rtol=1e-5)
    assert "a: stays as it is, it is quantised" in capsys.readouterr().out


@pytest.mark.tf_only
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_float8_comes_after_what_copies_a_model(model, tmp_path):
    remove_masks(model).quantize("float8")
    for copying in (compact, to_sparse):
        with pytest.raises(ValueError, match=r"layer 'a' .* before it is quantised"):
            copying(model)
    with pytest.raises(ValueError, match=r"layer 'a' .* before it is quantised"):
        export(model, tmp_path / "model.keras", compact=True)
