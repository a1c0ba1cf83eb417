"""Exported models compute the same function, and hold no mask."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_initprune import export, get_masks, install_masks, set_masks
from keras_initprune.deploy import converters, numpy_runtime
from keras_initprune.deploy.export import FORMATS
from keras_initprune.deploy.sparse.conversion import has_sparse_layers, to_sparse
from keras_initprune.files import replacing, size_of
from keras_initprune.lab import models

pytestmark = pytest.mark.tf_only("Files for LiteRT and TensorFlow Serving")


def masked(model, rng, density=0.2):
    """Random weights, masks and statistics."""
    for variable in model.weights:
        low = 0.5 if "variance" in variable.name else -1
        variable.assign(rng.uniform(low, 1, variable.shape))
    install_masks(model)
    masks = {
        path: rng.random(mask.shape) < density
        for path, mask in get_masks(model).items()
    }
    set_masks(model, masks)
    return model


def perceptron(rng):
    return masked(models.perceptron((4, 4, 1), (15, 9), 3), rng)


def images(model, rng, examples=3):
    return rng.normal(size=(examples, *model.inputs[0].shape[1:])).astype("float32")


def outputs(model, x):
    return ops.convert_to_numpy(model(x, training=False))


@pytest.mark.slow
class TestEveryFormat:
    def read(self, name, path, x):
        """Compute outputs from what was written, with what reads it."""
        if name == "keras":
            return outputs(keras.saving.load_model(path), x)
        if name == "saved_model":
            loaded = tf.saved_model.load(path)
            return loaded.serve(x).numpy()
        if name == "numpy":
            return numpy_runtime.load(path).predict(x)
        if name == "onnx":
            return converters.run_onnx(path, [x])[0]
        return converters.run_litert(path, [x], plain_kernels="int8" in name)[0]

    @pytest.mark.parametrize("name", FORMATS)
    def test_computes_the_same(self, name, rng, tmp_path):
        if name == "onnx":
            pytest.importorskip("tf2onnx")
        model = perceptron(rng)
        x = images(model, rng)
        path = tmp_path / f"model{FORMATS[name].suffix}"
        assert export(model, path, name, compact=name != "keras") == path
        found, expected = self.read(name, path, x), outputs(model, x)
        tolerance = 0.05 if "int8" in name else 1e-5
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=tolerance * np.abs(expected).max()
        )
        assert get_masks(model)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_holds_no_mask(self, rng, tmp_path):
        path = export(perceptron(rng), tmp_path / "model.keras")
        assert len(keras.saving.load_model(path).weights) == 6

    @pytest.mark.parametrize("name", ["keras", "numpy"])
    def test_takes_sparse_layers_for_what_they_stand_for(self, name, rng, tmp_path):
        model = perceptron(rng)
        sparse = to_sparse(model, threshold=0, smallest=1)
        path = export(sparse, tmp_path / f"model{FORMATS[name].suffix}", name)
        x = images(model, rng)
        np.testing.assert_allclose(
            self.read(name, path, x), outputs(model, x), rtol=1e-5, atol=1e-5
        )
        assert name != "keras" or not has_sparse_layers(keras.saving.load_model(path))

    def test_leaves_the_optimizer_out(self, rng, tmp_path):
        model = perceptron(rng)
        plain = export(model, tmp_path / "plain.keras").stat().st_size
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        assert export(model, tmp_path / "compiled.keras").stat().st_size == plain
        assert model.compiled


class TestTarget:
    def test_replaces_what_was_written_before(self, rng, tmp_path):
        path = tmp_path / "saved"
        path.mkdir()
        (path / "variables").mkdir()
        old = [path / "saved_model.pb", path / "variables" / "variables.old"]
        for file in old:
            file.write_text("old")
        export(perceptron(rng), path, "saved_model")
        assert [file.name for file in tmp_path.iterdir()] == ["saved"]
        assert not old[1].exists()
        assert tf.saved_model.contains_saved_model(path)
        # Values, and no masks.
        shapes = dict(tf.train.list_variables(path / "variables/variables"))
        values = [name for name, shape in shapes.items() if shape]
        assert len([name for name in values if "_variables" in name]) == 6

    def test_keeps_the_old_file_when_writing_fails(self, rng, tmp_path):
        path = tmp_path / "model.npz"
        export(perceptron(rng), path, "numpy")
        before = path.read_bytes()
        recurrent = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2)])
        with pytest.raises(ValueError, match="LSTM"):
            export(recurrent, path, "numpy")
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        "names", [["note.txt"], ["saved_model.pb", "variables/note.txt"]]
    )
    def test_a_folder_of_other_files_is_left_alone(self, names, rng, tmp_path):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("mine")
        with pytest.raises(FileExistsError, match="other files"):
            export(perceptron(rng), tmp_path, "saved_model")
        assert all((tmp_path / name).read_text() == "mine" for name in names)

    @pytest.mark.parametrize(
        ("name", "format", "message"),
        [("model.h5", "keras", "'.keras'"), ("model.pb", "pb", "'litert'")],
    )
    def test_is_checked(self, name, format, message, rng, tmp_path):
        with pytest.raises(ValueError, match=message):
            export(perceptron(rng), tmp_path / name, format)

    def test_folders_are_replaced_as_a_whole(self, tmp_path):
        target = tmp_path / "folder"
        for name in ("old", "new"):
            with replacing(target, is_ours=lambda folder: True) as temporary:
                temporary.mkdir()
                (temporary / name).write_text(name)
        assert [file.name for file in target.iterdir()] == ["new"]
        assert size_of(target) == 3

    def test_an_interrupt_leaves_the_old_one(self, tmp_path):
        target = tmp_path / "note.txt"
        target.write_text("old")

        def interrupted():
            with replacing(target) as temporary:
                temporary.write_text("half of the n")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert target.read_text() == "old"
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
class TestLiteRT:
    def test_zeros_take_no_room(self, rng, tmp_path):
        model = masked(models.perceptron((8, 8, 1), (64, 32), 4), rng, 0.05)
        sparse = export(model, tmp_path / "sparse.tflite", "litert")
        dense = export(model, tmp_path / "dense.tflite", "litert_dense")
        assert size_of(sparse) < 0.35 * size_of(dense)

    def test_a_last_block_that_is_not_full(self, rng, tmp_path):
        """What the converter gets wrong by itself: 61 inputs, a block of which is 1."""
        layer = layers.Dense(16)
        model = keras.Sequential([keras.Input((61,)), layer])
        kernel = np.zeros((61, 16), "float32")
        kernel[60, 0] = kernel[3, 5] = 1
        layer.kernel.assign(kernel)
        x = images(model, rng)
        converters.convert_to_litert(
            model, tmp_path / "wrong.tflite", sparse=True, int8=False
        )
        wrong = converters.run_litert(tmp_path / "wrong.tflite", [x])[0]
        assert np.abs(wrong - outputs(model, x)).max() > 0.1
        path = export(model, tmp_path / "right.tflite", "litert")
        np.testing.assert_allclose(
            converters.run_litert(path, [x])[0], outputs(model, x)
        )

    def test_sparse_and_8_bit_weights_need_plain_kernels(self, rng, tmp_path):
        """XNNPACK refuses them: the day it does not, the docs can say less."""
        model = masked(models.perceptron((8, 8, 1), (64, 32), 4), rng, 0.05)
        path = export(model, tmp_path / "model.tflite", "litert_int8")
        with pytest.raises(ValueError, match="LiteRT cannot run"):
            converters.run_litert(path, [images(model, rng)])

    def test_removed_weights_are_zeros_in_8_bits(self, rng, tmp_path):
        """Exact zeros, which a sparse file leaves out: the scale has no offset."""
        model = keras.Sequential(
            [keras.Input((8, 8, 16)), layers.Conv2D(16, 3), layers.Dense(80)]
        )
        masks = get_masks(masked(model, rng)).values()
        stored = []
        for name in ("litert_int8_dense", "litert_int8"):
            path = export(model, tmp_path / f"{name}.tflite", name)
            file = converters.litert_interpreter(path, plain_kernels=True)
            file.allocate_tensors()
            tensors = file.get_tensor_details()
            # Those with a scale are the kernels, units first, as they lie in the file.
            kernels = [
                file.get_tensor(tensor["index"])
                for tensor in tensors
                if tensor["quantization_parameters"]["scales"].size
                and (tensor["sparsity_parameters"] or name.endswith("dense"))
            ]
            stored.append(sorted(np.count_nonzero(kernel) for kernel in kernels))
            assert all(kernel.dtype == np.int8 for kernel in kernels)
            if name.endswith("dense"):
                for mask in masks:
                    units_first = np.moveaxis(mask, -1, 0)
                    (kernel,) = (k for k in kernels if k.shape == units_first.shape)
                    assert not kernel[~units_first].any()
                    assert kernel[units_first].any()
        assert stored[0] == stored[1]

    def test_several_inputs_and_outputs(self, rng, tmp_path):
        first, second = keras.Input((5,)), keras.Input((5,))
        x = layers.concatenate([layers.Dense(4)(first), layers.Dense(3)(second)])
        model = keras.Model([first, second], [layers.Dense(2)(x), layers.Dense(3)(x)])
        path = export(model, tmp_path / "model.tflite", "litert_dense")
        inputs = [rng.normal(size=(4, 5)).astype("float32") for _ in range(2)]
        for found, expected in zip(
            converters.run_litert(path, inputs), model(inputs), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


NETWORKS = {
    "activations": lambda: keras.Sequential(
        [
            keras.Input((6,)),
            *(layers.Dense(6, name) for name in numpy_runtime.ACTIVATIONS),
        ]
    ),
    "layers": lambda: keras.Sequential(
        [
            keras.Input((6,)),
            layers.Rescaling(2.0, -1.0),
            layers.Dense(6, use_bias=False),
            layers.BatchNormalization(scale=False),
            layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2),
            layers.Dense(6),
            layers.LeakyReLU(),
            layers.Dense(6),
            layers.ELU(0.5),
            layers.Dense(6),
            layers.PReLU(),
            layers.Dropout(0.5),
            layers.Activation("tanh"),
            layers.Softmax(),
        ]
    ),
    "convnet": lambda: models.convnet((8, 8, 1), (6, 8), 3),
    "autoencoder": lambda: models.autoencoder((4, 4, 1), (12, 8), 4),
    "convolutions": lambda: keras.Sequential(
        [
            keras.Input((9, 8, 2)),
            layers.ZeroPadding2D(((1, 0), (2, 1))),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(4, (2, 3), dilation_rate=(2, 1), padding="same"),
            layers.BatchNormalization(),
            layers.AveragePooling2D(2, 1, padding="same"),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.Conv2D(3, 2),
            layers.GlobalAveragePooling2D(),
        ]
    ),
    "steps": lambda: keras.Sequential(
        [
            keras.Input((24,)),
            layers.Reshape((-1, 4)),
            layers.Conv1D(5, 3, padding="causal", dilation_rate=2),
            layers.MaxPooling1D(2),
            layers.Dense(4),
            layers.GlobalMaxPooling1D(),
        ]
    ),
}


def branches():
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu")])
    x, y = inner(first), inner(second)
    x = layers.Maximum()([x + y, layers.Average()([x, y]), x * y])
    outputs = {
        "sum": layers.Dense(2)(ops.relu(layers.Subtract()([x, y]))),
        "both": layers.Concatenate()([x, y]),
    }
    return keras.Model({"first": first, "second": second}, outputs)


class TestNumpy:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_computes_the_same(self, name, rng, tmp_path):
        model = masked(NETWORKS[name](), rng, 0.3)
        x = images(model, rng)
        loaded = numpy_runtime.load(export(model, tmp_path / "model.npz", "numpy"))
        expected = outputs(model, x)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(loaded.predict(x), expected, 1e-4, 1e-5 * scale)
        np.testing.assert_allclose(
            loaded.predict(x[:1]), expected[:1], 1e-4, 1e-5 * scale
        )

    @pytest.mark.parametrize("compact", [False, True])
    def test_branches_operators_and_dictionaries(self, compact, rng, tmp_path):
        model = masked(branches(), rng, 0.4)
        path = export(model, tmp_path / "model.npz", "numpy", compact=compact)
        x = {name: images(model, rng) for name in ("first", "second")}
        found, expected = numpy_runtime.load(path).predict(x), model(x)
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)

    def test_a_gather_of_a_compacted_model(self, rng, tmp_path):
        from keras_initprune import compact

        model = perceptron(rng)
        model.get_layer("hidden_1").kernel.assign(
            model.get_layer("hidden_1").kernel * (np.arange(16) < 7)[:, None]
        )
        path = export(compact(model), tmp_path / "model.npz", "numpy")
        assert "take" in {
            step["op"] for step in numpy_runtime.load(path).architecture["steps"]
        }
        x = images(model, rng)
        np.testing.assert_allclose(
            numpy_runtime.load(path).predict(x), outputs(model, x), rtol=1e-4, atol=1e-5
        )

    def test_runs_where_there_is_no_tensorflow(self, rng, tmp_path):
        model = perceptron(rng)
        x = images(model, rng)
        export(model, tmp_path / "model.npz", "numpy")
        np.save(tmp_path / "x.npy", x)
        code = """
            import sys
            from importlib.machinery import PathFinder

            class Absent(PathFinder):
                @classmethod
                def find_spec(cls, name, path=None, target=None):
                    if name.split(".")[0] in ("tensorflow", "keras"):
                        return None
                    return super().find_spec(name, path, target)

            at = sys.meta_path.index(PathFinder)
            sys.meta_path[at] = Absent
            import numpy as np
            from keras_initprune.deploy import numpy_runtime
            model = numpy_runtime.load("model.npz")
            np.save("y.npy", model.predict(np.load("x.npy")))
            assert not {"tensorflow", "keras"} & set(sys.modules)
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]
        subprocess.run(command, check=True, cwd=tmp_path)
        np.testing.assert_allclose(
            np.load(tmp_path / "y.npy"), outputs(model, x), rtol=1e-5, atol=1e-6
        )

    def test_names_the_layer_that_it_cannot_write(self, tmp_path):
        model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2, name="memory")])
        with pytest.raises(ValueError, match=r"'memory' \(LSTM\)"):
            export(model, tmp_path / "model.npz", "numpy")

    def test_volumes_are_compacted_and_refused_here(self, rng, tmp_path):
        model = keras.Sequential(
            [
                keras.Input((5, 5, 5, 2)),
                layers.Conv3D(4, 2, padding="same", activation="relu"),
                layers.MaxPooling3D(2),
                layers.Conv3DTranspose(3, 2),
                layers.GlobalAveragePooling3D(),
            ]
        )
        masked(model, rng)
        kernel = model.layers[0].kernel
        kernel.assign(kernel * (np.arange(4) > 0))
        x = images(model, rng)
        path = export(model, tmp_path / "model.keras", compact=True)
        small = keras.saving.load_model(path)
        assert small.layers[0].filters == 3
        np.testing.assert_allclose(outputs(small, x), outputs(model, x), atol=1e-5)
        with pytest.raises(ValueError, match=r"\(Conv3D\)"):
            export(model, tmp_path / "model.npz", "numpy")

    def test_inputs_of_another_shape(self, rng, tmp_path):
        loaded = numpy_runtime.load(
            export(perceptron(rng), tmp_path / "model.npz", "numpy")
        )
        with pytest.raises(ValueError, match="`inputs`"):
            loaded.predict(np.zeros((2, 5)))

    def test_another_file(self, tmp_path):
        np.savez(tmp_path / "other.npz", x=np.ones(3))
        (tmp_path / "text.npz").write_text("no archive")
        for name in ("other.npz", "text.npz"):
            with pytest.raises(ValueError, match="not an exported model"):
                numpy_runtime.load(tmp_path / name)

    def test_a_newer_file(self):
        with pytest.raises(ValueError, match="newer"):
            numpy_runtime.NumpyModel({"version": 99}, {})
