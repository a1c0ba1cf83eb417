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
    """Return a compiled perceptron with two hidden layers and random masks.

    Args:
        width: Units of both hidden layers.
        sparsity: Fraction of the weights to remove; 0 for a model without masks.
        steps_per_execution: As in `compile`.
    """
    model = models.get("perceptron")(
        input_shape=IMAGE_SHAPE, hidden_units=(width, width), seed=0
    )
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


def random_images(batches: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random images and labels, `batches` times `BATCH_SIZE` of them.

    Args:
        batches: How many batches they fill.
    """
    generator = np.random.default_rng(0)
    images = generator.random((batches * BATCH_SIZE, *IMAGE_SHAPE), np.float32)
    return images, generator.integers(0, 10, len(images), np.int32)
