"""ONNX files compute what the model does, and hold its zeros and no mask."""

import importlib.util
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import layers

from keras_initprune import export, get_masks, prune
from keras_initprune.deploy import converters

pytestmark = pytest.mark.slow

CONVERTER, EXTRA = converters._CONVERTERS[keras.config.backend()]
NEEDED = (CONVERTER, "onnxruntime")
installed = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)),
    reason=f"needs keras_initprune[{EXTRA}]",
)


@pytest.fixture
def model():
    """Two inputs, two outputs, a convolution and a normalisation."""
    image, vector = keras.Input((8, 8, 3), name="image"), keras.Input((5,))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Flatten()(layers.BatchNormalization()(x))
    x = layers.Concatenate()([x, layers.Dense(7, "tanh")(vector)])
    x = layers.Dense(32, "relu")(x)
    outputs = [layers.Dense(4, "softmax")(x), layers.Dense(2)(x)]
    return prune(keras.Model([image, vector], outputs), "random", 0.9, seed=0)


@installed
@pytest.mark.backends("Export to ONNX")
def test_computes_the_same_for_batches_of_any_size(model, rng, tmp_path, capfd):
    masks = get_masks(model)
    path = export(model, tmp_path / "model.onnx", "onnx")
    for examples in (1, 5):
        inputs = [
            rng.normal(size=(examples, *each.shape[1:])).astype("float32")
            for each in model.inputs
        ]
        found = converters.run_onnx(path, inputs)
        for output, expected in zip(found, model(inputs, training=False), strict=True):
            expected = keras.ops.convert_to_numpy(expected)
            np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    assert get_masks(model).keys() == masks.keys()
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert capfd.readouterr().out == ""


@installed
def test_holds_the_zeros_and_no_mask(model, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = export(model, tmp_path / "model.onnx", "onnx")
    arrays = [
        onnx.numpy_helper.to_array(array) for array in onnx.load(path).graph.initializer
    ]
    assert not any(array.dtype == bool for array in arrays)
    # Layouts differ: sizes do not.
    kept = {array.size: np.count_nonzero(array) for array in arrays}
    for mask in get_masks(model).values():
        assert kept[mask.size] == np.count_nonzero(mask)


class Changing(layers.Layer):
    """Does something else once it has run on the three examples to compare with."""

    has_run = False

    def call(self, inputs):
        if inputs.shape[0] == 3:
            self.has_run = True
            return inputs
        return self.later(inputs) if self.has_run else inputs


class Failing(Changing):
    def later(self, inputs):
        raise RuntimeError


class Doubling(Changing):
    def later(self, inputs):
        return 2 * inputs


@installed
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Failing, "ONNX cannot convert the model 'odd'"),
        (Doubling, "does not compute what the model 'odd' does"),
    ],
)
def test_a_file_that_would_be_wrong_is_not_written(layer, message, tmp_path):
    model = keras.Sequential([keras.Input((4,)), layer()], name="odd")
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        export(model, path, "onnx")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "missing", [CONVERTER, pytest.param("onnxruntime", marks=installed)]
)
def test_a_missing_package_is_named(missing, tmp_path):
    code = f"""
        import sys
        sys.modules[{missing!r}] = None
        import keras
        from keras_initprune import export

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        try:
            export(model, "model.onnx", "onnx")
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    expected = f"`{missing}` is missing: pip install 'keras_initprune[{EXTRA}]'\n"
    assert done.stdout == expected
    assert not list(tmp_path.iterdir())
