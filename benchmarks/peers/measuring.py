"""Takes the same figures of every peer, each in its own process and environment.

`python -m benchmarks.peers.measuring MODULE TASK DATA` prints a record as one line of
JSON; `TASK` is JSON too.
"""

import gzip
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.peers.side import DENSE, Record, Side, Task, initial_kernels

# Timings take bursts of both networks in turn; a burst's first steps are warm-up.
BURSTS, STEPS, WARM_UP = 4, 25, 5
# Steps of plain training after which zeros are counted.
TUNING_STEPS = 30

Found = TypeVar("Found")


def main(module: str, task: Task, data: Path) -> Record:
    """Return what a peer finds."""
    peer = importlib.import_module(f"benchmarks.peers.sides.{module}").Peer(task)
    with np.load(data) as arrays:
        return measure(peer, dict(arrays))


def measure(side: Side, data: dict[str, np.ndarray]) -> Record:
    """Train, save, load, train on, and count at every turn."""
    task, notes = side.task, {}
    x, y = data["x_train"], data["y_train"]

    def attempt(name: str, part: Callable[[], Found]) -> Found | None:
        # A peer may fail in ways of its own; what it says is a finding.
        try:
            return part()
        except Exception as error:
            notes[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            return None

    def part_of_data(steps: int) -> tuple[np.ndarray, np.ndarray]:
        return x[: steps * task.batch_size], y[: steps * task.batch_size]

    def error_of(model: Any) -> float:
        outputs = side.predict(model, data["x_test"])
        return float(np.mean(outputs.argmax(-1) != data["y_test"]))

    def tuned(model: Any) -> float:
        side.fit(model, *part_of_data(TUNING_STEPS), 1)
        return sparsity_of(side.kernels(model))

    kernels = initial_kernels(task.network, task.seed)
    begin = time.process_time()
    if task.method == DENSE:
        model = side.dense(kernels)
        side.fit(model, x, y, task.epochs)
    else:
        model = side.train_pruned(kernels, x, y)
    found: dict[str, Any] = {"seconds": time.process_time() - begin}
    found["memory"] = attempt("memory", peak_memory)
    found["error"] = error_of(model)
    found["sparsity"] = sparsity_of(side.kernels(model))
    with tempfile.TemporaryDirectory() as folder:
        path = attempt("file_size", lambda: side.save(model, Path(folder)))
        loaded = None
        if path is not None:
            content = path.read_bytes()
            found["file_size"] = len(content)
            found["zipped_size"] = len(gzip.compress(content))
            loaded = attempt("loaded_error", lambda: side.load(path))
    if loaded is not None:
        found["loaded_error"] = attempt("loaded_error", lambda: error_of(loaded))
        found["loaded_sparsity"] = sparsity_of(side.kernels(loaded))
    if task.method != DENSE:
        found["tuned_sparsity"] = attempt("tuned_sparsity", lambda: tuned(model))
        if loaded is not None:
            found["loaded_tuned_sparsity"] = attempt(
                "loaded_tuned_sparsity", lambda: tuned(loaded)
            )
        found["step_seconds"], found["dense_step_seconds"] = step_seconds(
            side, model, side.dense(kernels), *part_of_data(STEPS)
        )
    return Record(task, side.versions, **found, notes=notes)


def step_seconds(
    side: Side, model: Any, dense: Any, x: np.ndarray, y: np.ndarray
) -> tuple[float, float]:
    """Return the median time of a step of both networks, timed in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for burst in range(BURSTS + 1):
        for network, times in zip((model, dense), seconds, strict=True):
            made = side.steps(network, x, y)
            if burst:  # The first traces and compiles.
                times += made[WARM_UP:]
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def sparsity_of(kernels: list[np.ndarray]) -> float:
    """Return the zeros among all weights.

    Example:
        >>> sparsity_of([np.array([0.0, 1.0]), np.array([[0.0, 0.0]])])
        0.75
    """
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels)
    return zeros / sum(kernel.size for kernel in kernels)


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes, on Linux.

    `getrusage` would count what the process that started this one had.

    Raises:
        OSError: On other systems.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "VmHWM" in line) * 1024


if __name__ == "__main__":
    made = main(sys.argv[1], Task(**json.loads(sys.argv[2])), Path(sys.argv[3]))
    print(json.dumps(asdict(made)))
