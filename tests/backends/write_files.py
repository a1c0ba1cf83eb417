"""Writes the file of a pruned model that every backend has to load.

`KERAS_BACKEND=jax python tests/backends/write_files.py` writes that of JAX.
"""

from pathlib import Path

import keras
import numpy as np
from reference import convolutional, data

from keras_initprune import prune

FOLDER = Path(__file__).parent


def model():
    """Return a model that is not compiled: the optimizers have names of their own."""
    made = convolutional()
    prune(made, "magnitude", 0.5)
    return keras.Sequential.from_config(made.get_config()), made.get_weights()


if __name__ == "__main__":
    made, weights = model()
    made.set_weights(weights)
    name = f"written_on_{keras.config.backend()}"
    made.save(FOLDER / f"{name}.keras")
    np.save(FOLDER / f"{name}.npy", made.predict(data()[0], verbose=0))
