"""What pruning costs: both sides of every figure measured in one run, as a ratio.

Timings are taken in interleaved pairs, so that a machine whose speed drifts slows both
sides alike; the median of the pairs' ratios is the figure. Nothing here is a test.
"""

import dataclasses
import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from keras_initprune import callbacks, constraints, gradients, models, selection
from keras_initprune.datasets import pipeline
from keras_initprune.experiments.results import check_writable, write_atomically
from keras_initprune.masks import candidate_key
from keras_initprune.prunable import prunable_weights
from keras_initprune.selection import SELECTIONS, Tensor

BATCH_SIZE = 100
IMAGE_SHAPE = (28, 28, 1)
CANDIDATES = (4, 256)
COUNT = 3 + len(SELECTIONS) * len(CANDIDATES)


@dataclass(frozen=True)
class Measurement:
    """One figure of the benchmark.

    Attributes:
        name: What was measured.
        unit: What the figure is a ratio of.
        ratio: Median of the ratios of all pairs.
        low: Smallest ratio.
        high: Largest ratio.
        goal: What the project asks for, in words; empty if it asks for nothing.
    """

    name: str
    unit: str
    ratio: float
    low: float
    high: float
    goal: str = ""


def run(pairs: int = 15, steps: int = 200, width: int = 4096) -> Iterator[Measurement]:
    """Measure everything, one figure after the other.

    Args:
        pairs: Interleaved pairs of every timing.
        steps: Training steps of one timing.
        width: Inputs and units of the kernel on which selection is timed.

    Yields:
        The measurements, as they are made.
    """
    yield from _training_costs(pairs, steps)
    yield from _scoring_costs(max(3, pairs // 5), width)
    yield from _selection_memory()


def run_and_show(console: Console, quick: bool, out: Path | None) -> None:
    """Measure with a progress line, then print a table and write it if asked to.

    Args:
        console: Where to show both.
        quick: Whether a few pairs and a small kernel do.
        out: A JSON file for the figures, or None.

    Raises:
        OSError: If `out` cannot be written.
    """
    if out is not None:
        check_writable(out.parent)
    sizes = {"pairs": 3, "steps": 50, "width": 512} if quick else {}
    measurements = []
    with console.status("measuring") as status:
        for measurement in run(**sizes):
            measurements.append(measurement)
            status.update(f"{len(measurements)} of {COUNT} figures measured")
    console.print(_table(measurements))
    if out is not None:
        figures = [dataclasses.asdict(measurement) for measurement in measurements]
        content = {"machine": machine(), "quick": quick, "figures": figures}
        write_atomically(out, json.dumps(content, indent=1) + "\n")
        console.print(f"Wrote {out}", highlight=False, soft_wrap=True)


def machine() -> str:
    """Return the processor and the versions that figures depend on, in one line."""
    import tensorflow as tf

    return (
        f"{platform.machine()}, {os.cpu_count()} cores, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}, NumPy {np.__version__}"
    )


def _training_costs(pairs: int, steps: int) -> Iterator[Measurement]:
    data = _random_images(steps)
    dense, masked, gathering = _perceptron(), _perceptron(), _perceptron()
    pruning = callbacks.KStarts(k=4, sparsity=0.95, epochs=1, seed=0)
    masked.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[pruning])
    constraints.install_masks(gathering)
    recorder = gradients.GradientRecorder(gathering, prunable_weights(gathering))
    recorder.start()

    def trains(model: keras.Model) -> Callable[[], Any]:
        return lambda: model.fit(data, verbose=0, shuffle=False)

    yield _timed(
        "a step after selection, masks at 95 %",
        "a dense step",
        (trains(masked), trains(dense)),
        pairs,
        "at most 1.03",
    )
    yield _timed(
        "a step that gathers gradients",
        "a dense step",
        (trains(gathering), trains(dense)),
        pairs,
        "at most 1.25",
    )
    recorder.stop()


def _scoring_costs(pairs: int, width: int) -> Iterator[Measurement]:
    fitness = np.random.default_rng(0).random((width, width), np.float32)
    tensor = Tensor(fitness, fitness.size // 20, "0/kernel")
    keys = [candidate_key(0, tensor.key, index) for index in range(256)]

    def score() -> None:
        selection.fitness_of_candidates(tensor, len(keys), seed=0)

    def generate() -> None:
        for key in keys:
            # In blocks, as a generator that is as fast as it can be would be used.
            generator = np.random.Philox(key=key)
            for _ in range(0, fitness.size, 1 << 16):
                generator.random_raw(1 << 15)

    yield _timed(
        f"scoring k = 256 masks of a {width} x {width} kernel",
        "drawing their random numbers",
        (score, generate),
        pairs,
    )


def _selection_memory() -> Iterator[Measurement]:
    fitness = {"kernel": np.random.default_rng(0).random((1024, 1024), np.float32)}
    for name in SELECTIONS:
        for k in CANDIDATES:
            tracemalloc.start()
            selection.k_starts_masks(fitness, k, 0.95, name)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            copies = peak / fitness["kernel"].nbytes
            yield Measurement(
                f"peak memory of {name!r}, k = {k}",
                "one copy of the weights",
                copies,
                copies,
                copies,
                "the same for every k",
            )


def _timed(
    name: str,
    unit: str,
    sides: tuple[Callable[[], Any], Callable[[], Any]],
    pairs: int,
    goal: str = "",
) -> Measurement:
    """Time two sides in turn, after one call of each that is not counted."""
    for side in sides:
        side()
    ratios = []
    for pair in range(pairs):
        # Which side goes first alternates as well: the second finds warmer caches.
        order = (0, 1) if pair % 2 else (1, 0)
        seconds = [0.0, 0.0]
        for index in order:
            begin = time.perf_counter()
            sides[index]()
            seconds[index] = time.perf_counter() - begin
        ratios.append(seconds[0] / seconds[1])
    return Measurement(
        name, unit, statistics.median(ratios), min(ratios), max(ratios), goal
    )


def _perceptron() -> keras.Model:
    model = models.get("perceptron")(input_shape=IMAGE_SHAPE, seed=0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _random_images(steps: int) -> Any:
    generator = np.random.default_rng(0)
    images = generator.random((steps * BATCH_SIZE, *IMAGE_SHAPE), np.float32)
    labels = generator.integers(0, 10, len(images), np.int32)
    return pipeline(images, labels, BATCH_SIZE)


def _table(measurements: Sequence[Measurement]) -> Table:
    table = Table(
        title=f"Costs as ratios ({machine()})",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("what")
    table.add_column("in units of")
    for header in ("median", "from", "to"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("goal")
    for measured in measurements:
        figures = (measured.ratio, measured.low, measured.high)
        cells = [f"{figure:.2f}" for figure in figures]
        table.add_row(measured.name, measured.unit, *cells, measured.goal)
    return table
