"""Makes the peers' environments and runs every training in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.peers.side import DENSE, NETWORKS, Record, Task

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Peer:
    """A package, and how to have it.

    Attributes:
        module: Its file in `sides`.
        requirements: What pip installs into its environment; none for this package on
            TensorFlow, which runs where the driver runs.
        methods: The methods that are compared.
        networks: The networks that it can build.
        lacks: Why it cannot build the others.
    """

    module: str
    requirements: tuple[str, ...]
    methods: tuple[str, ...]
    networks: tuple[str, ...] = NETWORKS
    lacks: str = ""


PEERS = {
    "keras_initprune": Peer("ours", (), ("Combination", "GradualMagnitude")),
    "keras_initprune on PyTorch": Peer(
        "ours_on_torch",
        ("torch==2.13.0", "keras>=3.15", "scipy>=1.13"),
        ("Combination",),
    ),
    "PQuantML": Peer(
        "pquantml", ("pquant-ml[tensorflow]==0.1.0",), ("pdp", "wanda", "mdmm")
    ),
    "TensorFlow Model Optimization": Peer(
        "tfmot",
        ("tensorflow-model-optimization==0.8.1", "tf-keras==2.20.1"),
        ("PruneLowMagnitude",),
    ),
    "torch.nn.utils.prune": Peer(
        "torch_prune", ("torch==2.13.0", "numpy"), ("one shot", "in rounds")
    ),
    "SparseLab": Peer(
        "sparse_lab",
        ("torch==2.13.0", "sparselab==0.2.2"),
        ("Static", "SET", "RigL"),
        ("perceptron",),
        "it has no convolution",
    ),
}
# What was looked at and is not compared.
LEFT_OUT = {
    "jaxpruner": "the package index that pip asks has no such package, only a "
    "repository of sources does"
}

# One thread and no GPU: processor time then says what a step costs, however busy the
# machine is.
SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}


def tasks(
    peer: str, networks: Sequence[str], sparsities: Sequence[float], **settings: int
) -> Iterator[Task]:
    """Yield what a peer is to do: each network dense, then by each of its methods.

    Networks that the peer cannot build are passed over.

    Example:
        >>> settings = dict(epochs=4, pruning_epochs=2, images=6000, batch_size=100)
        >>> networks = ["lenet5", "perceptron"]
        >>> made = tasks("SparseLab", networks, [0.9], seed=0, **settings)
        >>> [(task.network, task.method) for task in made][:2]
        [('perceptron', 'dense'), ('perceptron', 'Static')]
    """
    for network in networks:
        if network not in PEERS[peer].networks:
            continue
        yield Task(peer, DENSE, network, 0.0, **settings)
        for method in PEERS[peer].methods:
            for sparsity in sparsities:
                yield Task(peer, method, network, sparsity, **settings)


def interpreter(peer: str, folder: Path) -> Path:
    """Return the interpreter of a peer's environment, made first where it is not there.

    Raises:
        RuntimeError: If it cannot be made.
    """
    requirements = PEERS[peer].requirements
    if not requirements:
        return Path(sys.executable)
    environment = folder / PEERS[peer].module
    python = environment / "bin" / "python"
    complete = environment / "requirements.txt"  # Written last.
    wanted = "\n".join(requirements)
    if complete.exists() and complete.read_text() == wanted:
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(environment)])
    _run([str(python), "-m", "pip", "install", "--quiet", *requirements])
    complete.write_text(wanted)
    return python


def train(task: Task, python: Path, data: Path, timeout: float) -> Record:
    """Run a training in an environment and return what it found."""
    module = PEERS[task.peer].module
    text = json.dumps(asdict(task))
    command = [str(python), "-m", "benchmarks.peers.measuring", module, text, str(data)]
    try:
        lines = _run(command, timeout)
    except RuntimeError as error:
        return Record(task, "", notes={"training": str(error)})
    return Record.from_dict(json.loads(lines.strip().splitlines()[-1]))


def _run(command: list[str], timeout: float | None = None) -> str:
    """Return what a command prints, or raise with the last line of its complaint."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    try:
        run = subprocess.run(
            command,
            cwd=ROOT,
            env={**variables, **SETTINGS},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not finished after {error.timeout:g} seconds") from error
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(last[:300])
    return run.stdout
