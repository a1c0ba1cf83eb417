"""Runs the measures and shows what they found."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from benchmarks import (
    break_even,
    compaction,
    end_to_end,
    exports,
    masks,
    removing,
    selection,
    showing,
    sparse_execution,
    units,
)
from benchmarks.sizes import QUICK, Sizes
from keras_initprune import files
from keras_initprune.lab.measurement import Measurement, Part
from keras_initprune.lab.terminal import say_written

Measure = Callable[[Sizes], Iterator[Measurement]]

MEASURES: Mapping[str, Measure] = {
    "masks": masks.measure,
    "removing": removing.measure,
    "selection": selection.measure,
    "compaction": compaction.measure,
    "units": units.measure,
    "exports": exports.measure,
    "sparse": sparse_execution.measure,
    "break_even": break_even.measure,
    "end_to_end": end_to_end.measure,
}


def run(
    names: Sequence[str] | None = None, sizes: Sizes | None = None
) -> Iterator[tuple[str, Measurement]]:
    """Run measures, one figure after the other.

    Raises:
        ValueError: If a name is unknown.
    """
    names = list(MEASURES if names is None else names)
    check_names(names)
    for name in names:
        for measurement in MEASURES[name](sizes or Sizes()):
            yield name, measurement


def check_names(names: Sequence[str]) -> None:
    """Raise unless all names are measures'."""
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names:
        raise ValueError(
            f"`measures` must be some of {', '.join(map(repr, MEASURES))}. "
            f"Received: {', '.join(map(repr, unknown)) or 'none'}"
        )


def run_and_show(
    console: Console,
    quick: bool,
    out: Path | None,
    names: Sequence[str] | None = None,
    pairs: int | None = None,
) -> None:
    """Measure with a progress line, then print a table and write it if asked to.

    Raises:
        OSError: If `out` cannot be written, or a page or picture of another making is
            beside it.
        ValueError: If a name is unknown, or `out` is no file of this benchmark.
    """
    names = list(MEASURES if names is None else names)
    check_names(names)
    parts: dict[str, Part] = {}
    if out is not None:
        if out.suffix != ".json":
            raise ValueError(f"`out` must end in '.json'. Received: out={str(out)!r}")
        files.check_replaceable(out)
        files.check_writable(out.parent)
        parts = _earlier(out)
    sizes = QUICK if quick else Sizes()
    options = " --quick" if quick else ""
    if pairs is not None:
        sizes = replace(sizes, pairs=pairs)
        options += f" --pairs {pairs}"
    made: dict[str, Part] = {}
    with console.status("measuring", spinner="line") as status:
        for name, measurement in run(names, sizes):
            command = f"python -m benchmarks --measures {name}{options}"
            made.setdefault(name, Part(command, machine(), [])).figures.append(
                measurement
            )
            count = sum(len(part.figures) for part in made.values())
            status.update(f"{count} figures measured, now: {name}")
            if out is not None:  # After every figure: whoever ends it keeps those.
                together = {**parts, **made}
                _write(out, {n: together[n] for n in MEASURES if n in together})
    console.print(showing.rich_table(made))
    if out is not None:
        say_written(console, [out, out.with_suffix(".md"), out.with_suffix(".png")])


def _earlier(out: Path) -> dict[str, Part]:
    if not out.exists():
        # The page and the picture come after the figures.
        files.check_free([out.with_suffix(".md"), out.with_suffix(".png")])
        return {}
    try:
        return {
            name: Part.from_dict(record)
            for name, record in json.loads(out.read_text(encoding="utf-8")).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"`out` must be a new file or one of this benchmark. Received: out={out}"
        ) from error


def _write(out: Path, parts: dict[str, Part]) -> None:
    content = {name: part.as_dict() for name, part in parts.items()}
    files.write_atomically(out, json.dumps(content, indent=1) + "\n")
    files.write_atomically(out.with_suffix(".md"), showing.markdown(parts))
    showing.save_figure(parts, out.with_suffix(".png"))


def machine() -> str:
    """Return the processor and the versions that figures depend on, in one line."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    named = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    devices = "".join(f", {one.get('device_name', 'a GPU')}" for one in named)
    threads = tf.config.threading.get_intra_op_parallelism_threads() or "all"
    return (
        f"{processor()}, {os.cpu_count()} cores, {threads} used per operation"
        f"{devices}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}, NumPy {np.__version__}"
    )


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()
