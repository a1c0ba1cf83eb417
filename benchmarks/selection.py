"""What selection among k random masks takes: time and memory."""

import tracemalloc
from collections.abc import Iterator

import numpy as np

from benchmarks.sizes import Sizes
from keras_initprune.arrays import selection
from keras_initprune.arrays.masks import candidate_key
from keras_initprune.lab.measurement import Measurement, paired, single

CANDIDATES = (4, 256)


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Time the scoring of candidates; trace the memory of every selection.

    Yields:
        Scoring as a ratio to drawing the random numbers that it needs, memory as a
        ratio to the weights.
    """
    yield _scoring(max(3, sizes.pairs // 5), sizes.width)
    shape = (sizes.width, sizes.width)
    fitness = {"kernel": np.random.default_rng(0).random(shape, np.float32)}
    for name in selection.SELECTIONS:
        for k in CANDIDATES:
            yield _memory(fitness, name, k)


def _scoring(pairs: int, width: int) -> Measurement:
    fitness = np.random.default_rng(0).random((width, width), np.float32)
    tensor = selection.Tensor(fitness, fitness.size // 20, "0/kernel")
    keys = [candidate_key(0, tensor.key, index) for index in range(256)]

    def score() -> None:
        selection.fitness_of_candidates(tensor, len(keys), seed=0)

    def generate() -> None:
        for key in keys:
            # In blocks, as a generator that is as fast as it can be would be used.
            generator = np.random.Philox(key=key)
            for _ in range(0, fitness.size, 1 << 16):
                generator.random_raw(1 << 15)

    return paired(
        f"scoring k = 256 masks of a {width} x {width} kernel",
        "drawing their random numbers",
        (score, generate),
        pairs,
    )


def _memory(fitness: dict[str, np.ndarray], name: str, k: int) -> Measurement:
    tracemalloc.start()
    selection.k_starts_masks(fitness, k, 0.95, name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    copies = peak / fitness["kernel"].nbytes
    return single(f"peak memory of {name!r}, k = {k}", "the weights", copies)
