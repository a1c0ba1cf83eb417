"""The record of one figure, and how a timed one is taken."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import tensorflow as tf


@dataclass(frozen=True)
class Measurement:
    """One figure of the benchmark.

    Attributes:
        name: What was measured.
        unit: What the figure is a ratio of.
        ratio: The figure: the median of the ratios of all pairs.
        low: Smallest ratio.
        high: Largest ratio.
        at_most: The most that the project asks for, or None; so is `at_least`.
        details: Whatever else a reader of the file may want, such as both sides'
            seconds or the sparsity; plain numbers and strings.
    """

    name: str
    unit: str
    ratio: float
    low: float
    high: float
    at_most: float | None = None
    at_least: float | None = None
    details: dict[str, Any] | None = None

    @property
    def goal(self) -> str:
        """What the project asks for, in words; empty if it asks for nothing."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether the figure is what the project asks for; None without a goal."""
        if self.at_most is not None:
            return self.ratio <= self.at_most
        return self.ratio >= self.at_least if self.at_least is not None else None

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Return what `as_dict` has written down."""
        return cls(**{key: value for key, value in record.items() if key != "met"})

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings, fit for JSON."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Part:
    """What one measure has found.

    Attributes:
        command: The command that made it.
        machine: What it was measured on.
        figures: The figures, in the measure's order.
    """

    command: str
    machine: str
    figures: list[Measurement]

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Return what `as_dict` has written down."""
        figures = [Measurement.from_dict(figure) for figure in record["figures"]]
        return cls(record["command"], record["machine"], figures)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings, fit for JSON."""
        return {**asdict(self), "figures": [made.as_dict() for made in self.figures]}


def single(name: str, unit: str, ratio: float, **fields: Any) -> Measurement:
    """Return the record of a figure that is counted, or the same in every run.

    Example:
        >>> single("weights", "the dense network's", 0.05, at_most=0.1).met
        True
    """
    return Measurement(name, unit, ratio, ratio, ratio, **fields)


def spread(name: str, unit: str, ratios: list[float], **fields: Any) -> Measurement:
    """Return the record of a figure that differs from run to run.

    Example:
        >>> spread("an epoch", "a dense one", [1.2, 0.9, 1.0]).ratio
        1.0
    """
    median = statistics.median(ratios)
    return Measurement(name, unit, median, min(ratios), max(ratios), **fields)


def of_pairs(
    name: str, unit: str, seconds: tuple[list[float], list[float]], **fields: Any
) -> Measurement:
    """Return the ratio of two sides, which took these seconds, pair by pair.

    Example:
        >>> made = of_pairs("much", "little", ([2.0, 3.0, 8.0], [1.0, 1.0, 2.0]))
        >>> made.low, made.ratio, made.high
        (2.0, 3.0, 4.0)
    """
    ratios = [first / second for first, second in zip(*seconds, strict=True)]
    medians = [statistics.median(side) for side in seconds]
    own = fields.pop("details", {})
    details = {"seconds": medians, "clock": clock().__name__, **own}
    return spread(name, unit, ratios, details=details, **fields)


def clock() -> Callable[[], float]:
    """Return the clock that timings are read from.

    With one thread and no GPU it counts what this process has had of the processor, so
    that other programs on the machine change little: else the time of day.
    """
    is_single = tf.config.threading.get_intra_op_parallelism_threads() == 1
    if is_single and not tf.config.list_physical_devices("GPU"):
        return time.process_time
    return time.perf_counter


def paired(
    name: str,
    unit: str,
    sides: tuple[Callable[[], Any], Callable[[], Any]],
    pairs: int,
    **fields: Any,
) -> Measurement:
    """Time two sides in turn and return the ratio of the first to the second.

    One call of each comes first and is not counted.

    Example:
        >>> paired("nothing", "a sum", (lambda: None, lambda: sum(range(10**5))), 3).met
    """
    for side in sides:
        side()
    now = clock()
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        # Which side goes first alternates as well: the second finds warmer caches.
        for index in (0, 1) if pair % 2 else (1, 0):
            begin = now()
            sides[index]()
            seconds[index].append(now() - begin)
    return of_pairs(name, unit, seconds, **fields)
