"""Files that one backend has written are read by every other.

No file is kept in the repository: `.ci/run` has every backend write its own, and names
their folder in `KERAS_INITPRUNE_WRITTEN`. Without it the backend reads its own alone.
"""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from reference import data
from write_files import model, write

from keras_initprune import find_leaks, get_masks


@pytest.mark.backends("Files of the other backends")
@pytest.mark.parametrize("writer", ["tensorflow", "jax", "torch"])
def test_a_file_of_every_backend_is_read(writer, tmp_path):
    folder = Path(os.environ.get("KERAS_INITPRUNE_WRITTEN", tmp_path))
    if writer == keras.config.backend():
        folder = tmp_path
        write(folder)
    path = folder / f"{writer}.keras"
    if not path.exists():
        pytest.skip(f"no file of {writer} is at hand, see the top of this module")
    loaded = keras.models.load_model(path)
    _, weights = model()
    for written, read in zip(weights, loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(written, read)
    outputs = loaded.predict(data()[0], verbose=0)
    np.testing.assert_allclose(outputs, np.load(path.with_suffix(".npy")), atol=1e-5)
    loaded.compile("adam", "mse", jit_compile=False)
    loaded.fit(*data(), verbose=0)
    assert find_leaks(loaded) == {}
    assert len(get_masks(loaded)) == 2
