"""How much the benchmark measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The numbers that decide how long the benchmark takes and how sure it is.

    Attributes:
        pairs: Interleaved pairs of every timing.
        steps: Training steps of one timing of a small network.
        width: Inputs and units of the kernel on which selection is timed.
        small_sparsities: Sparsities at which small networks are compacted and exported.
    """

    pairs: int = 15
    steps: int = 200
    width: int = 4096
    small_sparsities: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99)


QUICK = Sizes(pairs=3, steps=50, width=512, small_sparsities=(0.98,))
