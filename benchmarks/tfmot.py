"""TensorFlow Model Optimization where it does the same job."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.sizes import Sizes
from keras_initprune.lab.measurement import Measurement, single

# The interpreter of another environment, if it is not installed beside this package.
VARIABLE = "INITPRUNE_TFMOT_PYTHON"


def measure(sizes: Sizes) -> Iterator[Measurement]:
    """Run it on Keras 2, in a process of its own, on one thread.

    Yields:
        Its masked step as a ratio to its dense step, its sparsity after fine-tuning
        what it has stripped, and the size of its file.

    Raises:
        RuntimeError: If it is not installed or fails.
    """
    script = Path(__file__).with_name("tfmot_process.py")
    python = os.environ.get(VARIABLE, sys.executable)
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [python, str(script), str(sizes.pairs), str(sizes.steps)]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(
            "TensorFlow Model Optimization does not run. Install the extra `tfmot`, or "
            f"set {VARIABLE} to the interpreter of an environment with "
            f"`tensorflow-model-optimization` and `tf-keras`. It said: {last}"
        )
    found = json.loads(run.stdout.strip().splitlines()[-1])
    ratios = [masked / dense for masked, dense in found["seconds"]]
    name = f"{found['versions']}: "
    yield Measurement(
        name + "a step with masks at 95 %",
        "its dense step",
        found["ratio"],
        min(ratios),
        max(ratios),
        details={"versions": found["versions"]},
    )
    before, after = found["sparsity"]
    yield single(
        name + "zeros before an epoch of fine-tuning",
        "zeros after",
        before / after,
        details={"sparsity": [before, after]},
    )
    masked_size, dense_size = found["bytes"]
    yield single(
        name + "file of the stripped model", "the dense file", masked_size / dense_size
    )
