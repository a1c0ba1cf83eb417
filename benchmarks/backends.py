"""What masks and sparse layers cost on each backend: `python -m benchmarks.backends`.

It needs the library and the backend of `KERAS_BACKEND` alone. Both sides take turns,
and the processor's time counts, which other programs on the machine lengthen least.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, Reshape

from keras_initprune import prune, to_sparse

# Epochs are long, so that what happens once in each counts as little as in training.
_PAIRS, _STEPS, _BATCH = 11, 300, 100
_LARGE_STEPS = 50  # Of networks whose steps take long.


def perceptron(*units: int) -> keras.Model:
    """Return a perceptron, for images of 784 pixels and ten classes."""
    hidden = [Dense(n, "relu") for n in units]
    return _compiled([*hidden, Dense(10)])


def lenet5() -> keras.Model:
    """Return LeNet-5-Caffe: 20 and 50 filters of 5 x 5, and 500 units."""
    filters = [layer for n in (20, 50) for layer in (Conv2D(n, 5), MaxPooling2D(2))]
    images, units = Reshape((28, 28, 1)), [Flatten(), Dense(500, "relu"), Dense(10)]
    return _compiled([images, *filters, *units])


def measure() -> Iterator[tuple[str, list[float]]]:
    """Yield what is compared, and the ratio of both sides' times in every pair."""
    for name, network, steps in (
        ("784-300-100-10", lambda: perceptron(300, 100), _STEPS),
        ("LeNet-5", lenet5, _LARGE_STEPS),
    ):
        masked = prune(network(), "magnitude", 0.95)
        step = f"a step with masks, {name}"
        yield f"{step}, to a dense one", ratios(masked, network(), _train, steps)
    if keras.config.backend() == "jax":
        return  # It has no sparse layers.
    for units, steps in (((300, 100), _STEPS), ((2048, 2048), _LARGE_STEPS)):
        dense = perceptron(*units)
        for sparsity in (0.9, 0.95, 0.98):
            sparse = to_sparse(prune(perceptron(*units), "magnitude", sparsity))
            name = "-".join(map(str, (784, *units, 10)))
            what = f"with sparse layers, {name}, {sparsity:.0%}, to a dense one"
            yield f"a step {what}", ratios(sparse, dense, _train, steps)
            yield f"a prediction {what}", ratios(sparse, dense, _predict, steps)


def ratios(
    ours: keras.Model, theirs: keras.Model, run: Callable[..., None], steps: int
) -> list[float]:
    """Return the time that one model takes over another one's, pair by pair."""
    generator = np.random.default_rng(0)
    x = generator.random((steps * _BATCH, 784), np.float32)
    y = generator.integers(0, 10, len(x))

    def seconds(model: keras.Model) -> float:
        begin = time.process_time()
        run(model, x, y)
        return time.process_time() - begin

    found = []
    for pair in range(_PAIRS + 1):
        order = (ours, theirs) if pair % 2 else (theirs, ours)
        taken = {id(model): seconds(model) for model in order}
        found.append(taken[id(ours)] / taken[id(theirs)])
    return found[1:]  # The first pair compiles.


def _train(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    model.fit(x, y, batch_size=_BATCH, shuffle=False, verbose=0)


def _predict(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    model.predict(x, batch_size=_BATCH, verbose=0)


def _compiled(layers: list[keras.Layer]) -> keras.Model:
    """Return a model that is compiled as Keras does by default."""
    model = keras.Sequential([Input((784,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


if __name__ == "__main__":
    for what, found in measure():
        print(
            f"{keras.config.backend()}: {what}: {statistics.median(found):.3f} "
            f"({min(found):.3f} to {max(found):.3f}, {len(found)} pairs)",
            flush=True,
        )
