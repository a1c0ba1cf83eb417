"""Files that are damaged, or made to do harm, are refused with one sentence."""

import gzip
import hashlib
import io
import json
import struct
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from keras_initprune import (
    export,
    get_masks,
    install_masks,
    prune,
    set_masks,
    to_sparse,
)
from keras_initprune.deploy import numpy_runtime
from keras_initprune.deploy.sparse.layer import SparseDense
from keras_initprune.lab.datasets import idx
from keras_initprune.lab.runs import saved_models
from keras_initprune.research.snapshots import Snapshot, Storage


@pytest.fixture
def exported(rng, tmp_path):
    """Arrays of an exported model with one sparse kernel, and where to write others."""
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5)])
    kernel = rng.normal(size=(6, 5)) * (rng.random((6, 5)) < 0.3)
    model.set_weights([kernel, np.ones(5)])
    with np.load(export(model, tmp_path / "model.npz", "numpy")) as file:
        return dict(file), tmp_path / "other.npz"


def write(path, arrays, /, **changes):
    """Write a file with other arrays in the place of some."""
    named = {f"1/kernel.{name}": value for name, value in changes.items()}
    np.savez(path, **{**arrays, **named})
    return path


def with_architecture(arrays, /, **changes):
    text = {**json.loads(str(arrays["architecture"])), **changes}
    return {**arrays, "architecture": np.array(json.dumps(text))}


def with_step(arrays, /, **changes):
    (step,) = json.loads(str(arrays["architecture"]))["steps"]
    return with_architecture(arrays, steps=[{**step, **changes}])


def packed(path, **changes):
    """Write a model without layers whose archive says something else of its member."""
    identity = {
        "version": 1,
        "inputs": [{"name": "x", "shape": [6]}],
        "steps": [],
        "outputs": [0],
        "output_keys": None,
        "single_output": True,
    }
    content = io.BytesIO()
    np.save(content, np.array(json.dumps(identity)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("architecture.npy", content.getvalue())
        for attribute, value in changes.items():
            setattr(archive.filelist[0], attribute, value)
    return path


class TestNumpyFiles:
    @pytest.mark.parametrize(
        "column", [2**30, -5_000_000, 10_000, -1, 6, 2**32, 2**63, 0.5]
    )
    def test_columns_lie_in_the_kernel(self, column, exported):
        arrays, path = exported
        indices = arrays["1/kernel.indices"].astype(np.min_scalar_type(column))
        indices[0] = column
        with pytest.raises(ValueError, match=r"other\.npz is not an exported model"):
            numpy_runtime.load(write(path, arrays, indices=indices))

    @pytest.mark.parametrize(
        "change", ["shorter", "falling", "hump", "beyond", "wrapped"]
    )
    def test_rows_are_what_their_bounds_say(self, change, exported):
        arrays, path = exported
        indptr = arrays["1/kernel.indptr"].astype(np.uint64)
        if change == "shorter":
            indptr = indptr[:-1]
        elif change == "falling":
            indptr[2] = indptr[-1] + 1
        elif change == "hump":
            # No values, says the last bound, which SciPy believes.
            indptr[1:] = 0
            indptr[1] = 10**6
            arrays["1/kernel.data"] = arrays["1/kernel.indices"] = indptr[:0]
        elif change == "beyond":
            indptr[-1] += 1
        else:
            indptr[2] += 2**32
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(write(path, arrays, indptr=indptr))

    @pytest.mark.parametrize(
        "changes",
        [
            {"data": np.zeros(3, "float32")},
            {"data": np.array("text")},
            {"data": np.array([None, {}], object)},
            {"data": np.zeros((2, 2), "float32")},
            {"data": np.zeros(2, [("real", "float32"), ("imaginary", "float32")])},
        ],
    )
    def test_values_are_numbers_one_for_each_column(self, changes, exported):
        arrays, path = exported
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(write(path, arrays, **changes))

    @pytest.mark.parametrize(
        "changes",
        [
            {"op": "system"},
            {"op": ["dense"]},
            {"inputs": [7]},
            {"inputs": 0},
            {"output": None},
            {"arrays": {"bias": "2/bias"}},
            {"arrays": ["1/bias"]},
            {"sparse": {"kernel": ["1/kernel", [-5, 6]]}},
            {"sparse": {"kernel": ["1/kernel", [5, 2**70]]}},
            {"sparse": {"kernel": ["1/kernel", [5, 6, 1]]}},
            {"sparse": {"kernel": "1/kernel"}},
        ],
    )
    def test_steps_read_what_is_there(self, changes, exported):
        arrays, path = exported
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(write(path, with_step(arrays, **changes)))

    @pytest.mark.parametrize(
        "changes",
        [
            {"activation": "system"},
            {"activation": []},
            {"arrays": {}, "sparse": {}},
            {"op": "reshape", "shape": [7]},
            {"op": "padding", "widths": [[-1, 0]]},
            {"op": "padding", "widths": [[0, 0], [2**60, 0]]},
            {"op": "take", "axis": 1, "arrays": {"positions": "far"}},
            {"op": "pooling", "kind": "max", "size": [0], "strides": [0]},
            {"op": "concatenate", "axis": 2**80},
        ],
    )
    def test_a_step_that_cannot_be_computed_is_named(self, changes, exported):
        arrays, path = exported
        arrays = {**with_step(arrays, **changes), "far": np.array([9], "uint8")}
        loaded = numpy_runtime.load(write(path, arrays))
        name = changes.get("op", "dense")
        with pytest.raises(ValueError, match=f"step '{name}' .* cannot be computed"):
            loaded.predict(np.ones((2, 6)))

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": "1"},
            {"version": None},
            {"steps": None},
            {"steps": [[]]},
            {"inputs": [6]},
            {"inputs": [{"name": "x", "shape": 6}]},
            {"outputs": [9]},
            {"outputs": []},
            {"outputs": [[]]},
            {"output_keys": ["a", "b"]},
            {"single_output": None, "outputs": None},
        ],
    )
    def test_an_architecture_of_another_form(self, changes, exported):
        arrays, path = exported
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(write(path, with_architecture(arrays, **changes)))

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", "null", "[" * 100_000, '{"version": 1}', "9" * 5000]
    )
    def test_a_text_that_is_no_architecture(self, text, exported):
        arrays, path = exported
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(write(path, {**arrays, "architecture": np.array(text)}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"file_size": 10},
            {"file_size": 2**40},
            {"compress_size": 10},
            {"CRC": 1},
            {"compress_type": zipfile.ZIP_LZMA},
            {"compress_type": 99},
            {"flag_bits": 1},
            {"header_offset": 2**31},
            {"filename": "other.npy", "orig_filename": "other.npy"},
        ],
    )
    def test_an_archive_that_says_something_else(self, changes, exported):
        assert (numpy_runtime.load(packed(exported[1])).predict([[1] * 6]) == 1).all()
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(packed(exported[1], **changes))

    @pytest.mark.parametrize("shape", [(2**40,), (-1,), (-2, -1), (3,), "text"])
    def test_an_array_that_says_another_shape(self, shape, exported):
        arrays, path = exported
        content = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(content, header)
        content.write(np.zeros(2, "float32").tobytes())
        write(path, {name: arrays[name] for name in arrays if name != "1/bias"})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("1/bias.npy", content.getvalue())
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(path)

    def test_what_unpacks_to_too_much_is_not_unpacked(self, exported):
        arrays, path = exported
        np.savez_compressed(path, **arrays, more=np.zeros(250_000, "float32"))
        assert path.stat().st_size < 10_000
        numpy_runtime.load(path, max_bytes=1_100_000)
        with pytest.raises(ValueError, match=r"unpacks to 1,00.* more than `max_bytes"):
            numpy_runtime.load(path, max_bytes=1_000_000)

    def test_one_name_stands_for_one_array(self, exported):
        arrays, path = exported
        write(path, arrays)
        with (
            zipfile.ZipFile(path, "a") as archive,
            pytest.warns(UserWarning, match="Duplicate name"),
        ):
            archive.writestr("1/bias.npy", b"")
        with pytest.raises(ValueError, match="not an exported model"):
            numpy_runtime.load(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            numpy_runtime.load(tmp_path / "absent.npz")


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3),
            layers.Flatten(),
            layers.Dense(16),
            layers.Dense(4),
        ]
    )


def pruned():
    return prune(network(), "magnitude", 0.7)


def sparse():
    return to_sparse(pruned(), threshold=0, smallest=1)


def arrays_of(model):
    """All that a file holds of a model, by name."""
    weights = {str(i): weight for i, weight in enumerate(model.get_weights())}
    return {**weights, **get_masks(model)}


def patterns(model):
    return {
        layer.name: layer.mask()
        for layer in model.layers
        if isinstance(layer, SparseDense)
    }


def model_file(folder):
    pruned().save(folder / "model.keras")
    return folder / "model.keras", lambda path: arrays_of(saved_models.load(path))


def numpy_file(folder):
    path = export(pruned(), folder / "model.npz", "numpy")
    return path, lambda path: numpy_runtime.load(path).arrays


def weights_file(folder):
    path = folder / "model.weights.h5"
    pruned().save_weights(path)
    model = install_masks(network())
    every = get_masks(model)

    def read(path):
        # Keras loads part of a file that it refuses.
        set_masks(model, every)
        model.load_weights(path)
        return get_masks(model)

    return path, read


def sparse_weights_file(folder):
    path = folder / "sparse.weights.h5"
    model = sparse()
    model.save_weights(path)

    def read(path):
        model.load_weights(path)
        return patterns(model)

    return path, read


def lottery_file(folder):
    model = pruned()
    storage = Storage(folder, {"sparsity": 0.7})
    info = {"sparsity": 0.7, "result": None, "seconds": 1.0, "last_step": 3}
    storage.write_round(0, get_masks(model), Snapshot.of(model, optimizer=False), info)

    def read(path):
        masks, stored = storage.read_round(0)
        assert stored == info
        return {**masks, **dict(enumerate(storage.read_trained(0).weights))}

    return folder / "round_000.npz", read


def settings_file(folder):
    settings = {"sparsity": 0.75, "weights": {"a/kernel": [64, 16]}}
    Storage(folder, settings)

    def read(path):
        Storage(folder, settings)
        return {}

    return folder / "settings.json", read


def idx_file(folder):
    images = np.random.default_rng(0).integers(256, size=(9, 4, 4), dtype=np.uint8)
    content = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(content))
    md5 = hashlib.md5(content).hexdigest()
    return path, lambda path: {"images": idx.read(path, "train-images", md5)}


REFUSED = (ValueError, OSError)
# What HDF5 finds damaged in its own structures it raises through Keras; a name that is
# no text any more is a TypeError.
HDF5 = (*REFUSED, KeyError, RuntimeError, TypeError)
FORMATS = {
    "keras": (model_file, REFUSED),
    "weights.h5": (weights_file, HDF5),
    "sparse weights.h5": (sparse_weights_file, HDF5),
    "numpy": (numpy_file, REFUSED),
    "lottery": (lottery_file, REFUSED),
    "lottery settings": (settings_file, REFUSED),
    "idx": (idx_file, REFUSED),
}


def damaged(content, kind, count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        at = int(rng.integers(len(content)))
        other = bytearray(content)
        other[at] ^= int(rng.integers(1, 256))
        yield bytes(other) if kind == "flip" else content[:at]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "count", [8, pytest.param(200, marks=pytest.mark.whole_matrix)]
)
@pytest.mark.parametrize("kind", ["flip", "cut"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_loaded_is_what_was_saved(name, kind, count, tmp_path):
    """Of weights files the masks: Keras' own weights have no checksum there."""
    make, refused = FORMATS[name]
    path, read = make(tmp_path)
    expected = read(path)
    for content in damaged(path.read_bytes(), kind, count):
        path.write_bytes(content)
        try:
            found = read(path)
        except refused:
            continue
        assert found.keys() == expected.keys()
        for each, values in found.items():
            np.testing.assert_array_equal(values, expected[each])


@pytest.mark.parametrize(
    ("saved", "damaged"), [(b"'<f4'", b"'<f2'"), (b"(5000,)", b"(4000,)")]
)
def test_a_header_that_asks_for_less_than_is_there(saved, damaged, tmp_path):
    """NumPy then reads less than the checksum is of, and does not look at it."""
    storage = Storage(tmp_path, {})
    weights = np.ones((200, 200), "float32")
    info = {"result": None}
    storage.write_round(0, {"a/kernel": weights == 1}, Snapshot([weights], []), info)
    path = tmp_path / "round_000.npz"
    content = path.read_bytes()
    assert saved in content
    path.write_bytes(content.replace(saved, damaged, 1))
    for read in (storage.read_round, storage.read_trained):
        with pytest.raises(
            ValueError, match=r"round_000\.npz is damaged: .*Bad CRC-32"
        ):
            read(0)


@pytest.mark.parametrize("column", [-1, 144, 2**30])
def test_a_sparse_layer_reads_columns_that_there_are(column, tmp_path):
    model = sparse()
    layer = next(layer for layer in model.layers if isinstance(layer, SparseDense))
    indices = layer.indices.numpy()
    indices[3, 1] = column
    layer.indices.assign(indices)
    model.save_weights(tmp_path / "sparse.weights.h5")
    with pytest.raises(ValueError, match="reaches beyond the kernel"):
        model.load_weights(tmp_path / "sparse.weights.h5")
