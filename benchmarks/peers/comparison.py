"""All that was found: kept in a file, shown on a page."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.peers import driving, page
from benchmarks.peers.side import DENSE, NETWORKS, Record, Task
from keras_initprune.files import check_free, check_replaceable, write_atomically

SPARSITIES = (0.9, 0.95, 0.98)
COMMAND = "python -m benchmarks.peers --data-dir DATA --out benchmarks/peers.json"


def chosen(text: str, valid: Collection[str], name: str) -> list[str]:
    """Return names that stand in a text with commas between them.

    Raises:
        ValueError: If one is unknown.

    Example:
        >>> chosen("b, a", ["a", "b", "c"], "letters")
        ['b', 'a']
    """
    names = [part.strip() for part in text.split(",")]
    if unknown := [part for part in names if part not in valid]:
        raise ValueError(
            f"`{name}` must be some of {', '.join(map(repr, valid))}. "
            f"Received: {', '.join(map(repr, unknown))}"
        )
    return names


def _place(record: Record) -> tuple[int, int, float]:
    """Return where a record stands: by peer, method and sparsity, dense ones first."""
    names, task = list(driving.PEERS), record.task
    methods = [DENSE, *driving.PEERS[task.peer].methods]
    return names.index(task.peer), methods.index(task.method), task.sparsity


@dataclass
class Comparison:
    """The records of all peers.

    Attributes:
        machines: What they were made on.
        missing: Peers whose environment could not be made, and why.
        records: What was found.
    """

    machines: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Comparison":
        """Return what `write` has written; nothing where no file is.

        Raises:
            FileExistsError: If a page of another making is beside it.
            ValueError: If the file is another's.
        """
        if path.suffix != ".json":
            raise ValueError(f"`out` must end in '.json'. Received: out={str(path)!r}")
        check_replaceable(path)
        if not path.exists():
            check_free([path.with_suffix(".md")])
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            records = [Record.from_dict(record) for record in content.pop("records")]
            return cls(**content, records=records)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"`out` must be a new file or one of this comparison. Received: "
                f"out={str(path)!r}"
            ) from error

    def has(self, task: Task) -> bool:
        """Return whether a training has been done, and not failed."""
        return any(r.task == task and r.error is not None for r in self.records)

    def add(self, record: Record) -> None:
        """Add what a training found, in the place of what it found before."""
        others = [other for other in self.records if other.task != record.task]
        self.records = sorted([*others, record], key=_place)

    def write(self, path: Path) -> None:
        """Write the figures, and the page beside them."""
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")
        write_atomically(path.with_suffix(".md"), self.page())

    def page(self) -> str:
        """Return the page."""
        reasons = {**driving.LEFT_OUT, **self.missing}
        for name, peer in driving.PEERS.items():
            if peer.lacks and name not in reasons:
                reasons[name] = f"only in part, for {peer.lacks}"
        return page.markdown(self.records, self._heading(), list(reasons.items()))

    def _heading(self) -> str:
        trainings = {
            f"{task.images:,} images of MNIST, {task.epochs} epochs of Adam at 0.001 "
            f"in batches of {task.batch_size}, never shuffled, one seed; the mask is "
            f"final after {task.pruning_epochs} epochs"
            for task in (record.task for record in self.records)
        }
        return (
            f"    {COMMAND}\n\n{'; '.join([*self.machines, *trainings])}.\nAll begin "
            "with the same weights, but for SparseLab, whose layers draw their own. "
            "Seconds\nare of processor time. So short a training "
            "does not rank methods: it says\nwhat each of them costs and keeps. "
            "**Bold** is the smallest error at a sparsity, among those\nthat have as "
            f"many zeros as was asked for.{self._open()}"
        )

    def _open(self) -> str:
        """Return how much of the command is still to be done, as a sentence."""
        if not self.records:
            return ""
        first = self.records[0].task
        settings = {
            key: value
            for key, value in asdict(first).items()
            if key not in ("peer", "method", "network", "sparsity")
        }
        wanted = [
            task
            for peer in driving.PEERS
            for task in driving.tasks(peer, NETWORKS, SPARSITIES, **settings)
        ]
        left = sum(not self.has(task) for task in wanted)
        if not left:
            return ""
        return (
            f"\n\nOf the {len(wanted)} trainings of the command {left} are not on this "
            "page, for they take\ntime; the command goes on where it was stopped."
        )
