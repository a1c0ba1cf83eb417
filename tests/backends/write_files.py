"""Writes the file of a pruned model that every backend has to load.

`KERAS_BACKEND=jax python tests/backends/write_files.py FOLDER` writes that of JAX.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from reference import convolutional, data

from keras_initprune import prune


def model():
    """Return a model that is not compiled: the optimizers have names of their own."""
    made = convolutional()
    prune(made, "magnitude", 0.5)
    return keras.Sequential.from_config(made.get_config()), made.get_weights()


def write(folder):
    """Write the model, and what it computes, under the name of the backend."""
    made, weights = model()
    made.set_weights(weights)
    path = Path(folder) / f"{keras.config.backend()}.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(path)
    np.save(path.with_suffix(".npy"), made.predict(data()[0], verbose=0))


if __name__ == "__main__":
    write(sys.argv[1])
