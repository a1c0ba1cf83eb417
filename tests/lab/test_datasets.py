import gzip
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from real_data import DATA_DIR, real_data

from keras_initprune.lab.datasets import Dataset, idx, load, pipeline, prepare
from keras_initprune.lab.datasets.loading import assemble

STEMS = {"train-images": 3, "train-labels": 1, "t10k-images": 3, "t10k-labels": 1}


def idx_bytes(dimensions):
    sizes = (2,) * dimensions
    return (
        bytes([0, 0, 8, dimensions])
        + struct.pack(f">{dimensions}I", *sizes)
        + bytes(range(2**dimensions))
    )


@pytest.fixture
def idx_dir(tmp_path):
    """Four files that are well formed, and no published data set."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for stem, dimensions in STEMS.items():
        path = folder / f"{stem}-idx{dimensions}-ubyte.gz"
        path.write_bytes(gzip.compress(idx_bytes(dimensions)))
    return folder


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """A proxy that refuses connections, and an empty TFDS directory."""
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("KERAS_INITPRUNE_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


# Loading


def test_digits_are_scaled_typed_and_complete():
    data = load("digits")
    parts = [
        (data.x_train, data.y_train),
        (data.x_validation, data.y_validation),
        (data.x_test, data.y_test),
    ]
    assert sum(len(x) for x, _ in parts) == 1797
    assert data.image_shape == (8, 8, 1)
    assert data.num_classes == 10
    for x, y in parts:
        assert x.dtype == np.float32
        assert y.dtype == np.int32
        assert x.min() == 0
        assert x.max() == 1
        assert len(x) == len(y)


def test_seed_moves_the_validation_part_and_nothing_else():
    first, same, other = load("digits"), load("digits"), load("digits", seed=1)
    np.testing.assert_array_equal(first.x_validation, same.x_validation)
    np.testing.assert_array_equal(first.y_train, same.y_train)
    np.testing.assert_array_equal(first.x_test, other.x_test)
    assert not np.array_equal(first.x_validation, other.x_validation)


def test_validation_part_is_stratified_and_taken_from_the_training_data():
    labels = np.repeat([0, 1], [80, 20])
    train = np.arange(100.0).reshape(100, 1, 1, 1), labels
    test = np.full((4, 1, 1, 1), 100.0), np.zeros(4, int)
    data = assemble("toy", train, test, scale=100, validation_fraction=0.1, seed=0)
    np.testing.assert_array_equal(np.bincount(data.y_validation), [8, 2])
    values = np.concatenate([data.x_train, data.x_validation]).ravel()
    np.testing.assert_allclose(np.sort(values), np.arange(100) / 100, rtol=1e-6)
    np.testing.assert_array_equal(data.x_test, np.ones((4, 1, 1, 1)))


def test_repr_is_short():
    assert repr(load("digits")).startswith("Dataset(name='digits', image_shape=")
    assert isinstance(load("digits"), Dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cifar"}, "'digits', 'fashion_mnist', 'mnist'"),
        ({"name": "digits", "validation_fraction": 0}, "`validation_fraction`"),
        ({"name": "digits", "validation_fraction": 1.0}, "examples to train on"),
        ({"name": "digits", "seed": -1}, "`seed`"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**arguments)


def test_prepare_knows_only_what_is_prepared():
    with pytest.raises(ValueError, match=r"'fashion_mnist', 'mnist'\. Received"):
        prepare("digits")


# IDX files


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("in_subdirectory", [True, False])
def test_locate_finds_every_spelling(tmp_path, dot, compressed, in_subdirectory):
    folder = tmp_path / "mnist" if in_subdirectory else tmp_path
    folder.mkdir(exist_ok=True)
    for stem, dimensions in STEMS.items():
        ending = ".gz" if compressed else ""
        (folder / f"{stem}{dot}idx{dimensions}-ubyte{ending}").touch()
    paths = idx.locate(tmp_path, "mnist")
    assert set(paths) == set(STEMS)
    assert all(path.parent == folder for path in paths.values())


def test_read_returns_the_uncompressed_content(idx_dir):
    path = idx.locate(idx_dir, "mnist")["train-labels"]
    md5 = "ec4a89b4dcf2d3a6e8fb9fbe1b1ab1ec"
    with pytest.raises(ValueError, match=rf"must have the MD5 {md5}\. Received: ") as e:
        idx.read(path, "train-labels", md5)
    found = str(e.value).rsplit(" ", 1)[-1]
    assert idx.read(path, "train-labels", found) == idx_bytes(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(idx_bytes(3))[:-9], "complete gzip file"),
        (idx_bytes(3), "complete gzip file"),
        (b"", "Received: 0 bytes"),
        (gzip.compress(idx_bytes(1)), "begin with 00000803"),
        (gzip.compress(b""), "Received: 0 bytes"),
        (gzip.compress(idx_bytes(3)[:6]), "Received: 6 bytes"),
        (gzip.compress(idx_bytes(3)[:-1]), "must be 24 bytes long"),
        (gzip.compress(idx_bytes(3) + b"0"), "must be 24 bytes long"),
        (gzip.compress(idx_bytes(3)), "not the one that was published"),
    ],
    ids=[
        "cut",
        "not gzip",
        "empty",
        "labels for images",
        "no content",
        "header only",
        "short",
        "long",
        "other",
    ],
)
def test_wrong_files_are_named_with_the_rule(no_network, idx_dir, content, message):
    (idx_dir / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        prepare("mnist", idx_dir)
    assert "train-images-idx3-ubyte.gz" in str(error.value)


@pytest.mark.parametrize("compressed", [True, False])
def test_no_more_is_read_than_was_published(compressed, tmp_path):
    header = bytes([0, 0, 8, 1]) + struct.pack(">I", 2**26)
    content = header + bytes(2**26)
    path = tmp_path / f"t10k-labels-idx1-ubyte{'.gz' if compressed else ''}"
    path.write_bytes(gzip.compress(content, 1) if compressed else content)
    del content
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="must be 10008 bytes long"):
            idx.read(path, "t10k-labels", "0" * 32)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_flipped_bits_are_noticed(no_network, idx_dir):
    path = idx_dir / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        load("mnist", data_dir=idx_dir)


def test_missing_files(no_network, idx_dir, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="existing directory"):
        load("mnist", data_dir=tmp_path / "nowhere")
    (idx_dir / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="found none of t10k-labels-idx1"):
        load("mnist", data_dir=idx_dir)
    monkeypatch.setenv("KERAS_INITPRUNE_DATA", str(idx_dir))
    with pytest.raises(FileNotFoundError, match="found none of t10k-labels-idx1"):
        load("fashion_mnist")


# Preparing


def test_without_network_the_error_says_what_to_do(no_network):
    with pytest.raises(RuntimeError, match="initprune prepare-data mnist") as error:
        load("mnist")
    assert "--data-dir" in str(error.value)
    assert "KERAS_INITPRUNE_DATA" in str(error.value)


@real_data
def test_what_stands_in_the_way_is_not_taken_for_data(tmp_path):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="Remove it"):
        prepare("mnist", DATA_DIR, tmp_path)


@pytest.mark.slow
@real_data
def test_prepare_survives_being_killed_and_then_loads(
    tmp_path, monkeypatch, capfd, idx_dir
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    kill_while_generating(tmp_path)
    capfd.readouterr()

    path = prepare("mnist", DATA_DIR)
    assert capfd.readouterr().out == ""
    assert path.is_relative_to(tmp_path)
    assert prepare("mnist") == path

    monkeypatch.delenv("KERAS_INITPRUNE_DATA")
    data = load("mnist")
    assert data.x_train.shape == (54000, 28, 28, 1)
    assert data.x_validation.shape == (6000, 28, 28, 1)
    assert data.x_test.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.y_test)[:3], [980, 1135, 1032])
    assert data.x_train.max() == 1
    assert data.x_train.dtype == np.float32
    with pytest.raises(ValueError, match="not the one that was published"):
        load("mnist", data_dir=idx_dir)


def kill_while_generating(tfds_dir):
    """Start a preparation and end it without notice while it writes."""
    code = (
        "from keras_initprune.lab.datasets import prepare; "
        f"prepare('mnist', {DATA_DIR!r})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL
    ) as job:
        while job.poll() is None and not list(tfds_dir.glob("mnist/*incomplete*")):
            pass
        job.kill()
    assert list(tfds_dir.glob("mnist/*incomplete*"))
    assert not (tfds_dir / "mnist" / "3.0.1").exists()


# Batches


def collect(dataset):
    return np.concatenate([inputs.numpy() for inputs, _ in dataset])


def test_pipeline_keeps_order_and_drops_nothing():
    x, y = np.arange(10.0), np.arange(10)
    batches = list(pipeline(x, y, batch_size=4))
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 2]
    np.testing.assert_array_equal(collect(batches), x)
    assert len(pipeline(x, y, batch_size=4)) == 3


def test_pipeline_shuffles_anew_each_pass_and_keeps_pairs():
    x = np.arange(50)
    dataset = pipeline(x, 2 * x, batch_size=7, shuffle=True)
    first, second = collect(dataset), collect(dataset)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), x)
    np.testing.assert_array_equal(np.sort(second), x)
    for inputs, targets in dataset:
        np.testing.assert_array_equal(targets, 2 * inputs)


def test_pipeline_order_is_a_function_of_the_seed():
    x = np.arange(50)

    def passes(seed):
        dataset = pipeline(x, x, batch_size=7, shuffle=True, seed=seed)
        return np.stack([collect(dataset), collect(dataset)])

    np.testing.assert_array_equal(passes(3), passes(3))
    assert not np.array_equal(passes(3), passes(4))


@pytest.mark.parametrize(
    ("x", "y", "batch_size", "message"),
    [
        (np.zeros(3), np.zeros(2), 2, r"len\(x\)=3, len\(y\)=2"),
        (np.zeros(0), np.zeros(0), 2, "at least one"),
        (np.zeros(3), np.zeros(3), 0, "`batch_size`"),
    ],
)
def test_pipeline_wrong_arguments(x, y, batch_size, message):
    with pytest.raises(ValueError, match=message):
        pipeline(x, y, batch_size)
