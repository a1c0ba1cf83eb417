"""Lets `python -m benchmarks.peers` compare this package with its peers."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.peers import driving
from benchmarks.peers.comparison import SPARSITIES, Comparison, chosen
from benchmarks.peers.side import NETWORKS
from keras_initprune.quiet import quiet_tensorflow
from keras_initprune.validation import check_sparsity


def compare(
    out: Annotated[
        Path,
        typer.Option(
            help="A JSON file for the figures; a page comes beside it. What it already "
            "holds is not trained again."
        ),
    ],
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory with the IDX files of MNIST.")
    ] = None,
    environments: Annotated[
        Path, typer.Option(help="Folder for the peers' environments; they stay.")
    ] = Path("results/environments"),
    peers: Annotated[
        str, typer.Option(help="Some of the peers, with commas between them.")
    ] = ",".join(driving.PEERS),
    networks: Annotated[str, typer.Option(help="Some of the networks.")] = ",".join(
        NETWORKS
    ),
    sparsities: Annotated[
        str, typer.Option(help="Fractions of the weights to remove.")
    ] = ",".join(map(str, SPARSITIES)),
    images: Annotated[
        int, typer.Option(min=3000, help="Training images, the first of the split.")
    ] = 10_000,
    epochs: Annotated[int, typer.Option(min=2, help="Epochs of training.")] = 4,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a training is given up.")
    ] = 3600,
) -> None:
    """Train the same networks with this package and its peers, one after the other."""
    with quiet_tensorflow():
        from benchmarks.running import processor
        from keras_initprune.lab.datasets import load
    try:
        names = chosen(peers, driving.PEERS, "peers")
        wanted = chosen(networks, NETWORKS, "networks")
        levels = [check_sparsity(float(level)) for level in sparsities.split(",")]
        found = Comparison.read(out)
        data = load("mnist", data_dir)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"Error: {error}")
    settings = {
        "epochs": epochs,
        "pruning_epochs": epochs // 2,
        "images": min(images, len(data.x_train)),
        "batch_size": 100,
        "seed": 0,
    }
    machine = f"{processor()}, {os.cpu_count()} cores, one thread"
    found.machines = list(dict.fromkeys([*found.machines, machine]))
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "data.npz"
        np.savez(
            arrays,
            x_train=data.x_train[:images],
            y_train=data.y_train[:images],
            x_test=data.x_test,
            y_test=data.y_test,
        )
        for name in names:
            try:
                python = driving.interpreter(name, environments.absolute())
            except RuntimeError as error:
                found.missing[name] = f"its environment could not be made: {error}"
                found.write(out)
                continue
            found.missing.pop(name, None)
            for task in driving.tasks(name, wanted, levels, **settings):
                if not found.has(task):
                    typer.echo(f"{name}, {task.network}, {task.method} {task.sparsity}")
                    found.add(driving.train(task, python, arrays, timeout))
                    found.write(out)
    found.write(out)
    typer.echo(f"Wrote {out} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    typer.run(compare)
