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
        widths: Units of the hidden layers of the perceptrons that are run sparse.
        sparsities: Sparsities at which they are run.
        batches: Batches that a perceptron of the first width predicts in one timing;
            wider ones predict fewer.
        epochs: Epochs of the trainings that are compared from end to end.
        images: Images of these trainings.
    """

    pairs: int = 15
    steps: int = 200
    width: int = 4096
    small_sparsities: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99)
    widths: tuple[int, ...] = (1024, 4096)
    sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    batches: int = 32
    epochs: int = 6
    images: int = 2048


QUICK = Sizes(
    pairs=3,
    steps=50,
    width=512,
    small_sparsities=(0.98,),
    widths=(1024,),
    sparsities=(0.95,),
    batches=8,
    epochs=4,
    images=512,
)
