"""The networks that the benchmark runs sparse and dense."""

import keras
import numpy as np

from keras_initprune import constraints
from keras_initprune.arrays.masks import candidate_key, kept_count, random_unit_mask
from keras_initprune.constraints.weights import prunable_weights
from keras_initprune.lab import models

IMAGE_SHAPE = (28, 28, 1)
BATCH_SIZE = 64


def wide_perceptron(
    width: int, sparsity: float, steps_per_execution: int = 1
) -> keras.Model:
    """Return a compiled perceptron with two hidden layers and random masks."""
    model = models.perceptron(IMAGE_SHAPE, hidden_units=(width, width), seed=0)
    if sparsity:
        constraints.install_masks(model)
        masks = {
            path: random_unit_mask(
                weight.shape,
                kept_count(weight.size, sparsity),
                candidate_key(0, weight.key, 0),
            )
            for path, weight in prunable_weights(model).items()
        }
        constraints.set_masks(model, masks)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps_per_execution,
    )
    return model


def perceptron(units: tuple[int, ...] = (300, 100)) -> keras.Model:
    """Return a compiled perceptron without masks."""
    model = models.perceptron(IMAGE_SHAPE, hidden_units=units, seed=0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def random_images(
    batches: int, batch_size: int = BATCH_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Return random images and labels, so many batches of them."""
    generator = np.random.default_rng(0)
    images = generator.random((batches * batch_size, *IMAGE_SHAPE), np.float32)
    return images, generator.integers(0, 10, len(images), np.int32)
