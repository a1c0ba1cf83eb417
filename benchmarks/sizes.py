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
        small_widths: Inputs and units of the kernels with which it is found when sparse
            ones begin to pay.
        outputs: Units of a layer behind a sparse one, for the same.
        trained_units: Hidden units of the networks that are trained from end to end.
        dataset: What they are trained on.
        images: How many of its images.
        epochs: For how many epochs.
        trainings: With how many seeds.
    """

    pairs: int = 15
    steps: int = 200
    width: int = 1024
    small_sparsities: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99)
    widths: tuple[int, ...] = (1024, 4096)
    sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    batches: int = 32
    small_widths: tuple[int, ...] = (128, 256, 384, 512)
    outputs: tuple[int, ...] = (10, 32)
    trained_units: tuple[tuple[int, ...], ...] = ((300, 100), (2048, 2048))
    dataset: str = "mnist"
    images: int = 10_000
    epochs: int = 6
    trainings: int = 2


QUICK = Sizes(
    pairs=3,
    steps=50,
    width=512,
    small_sparsities=(0.98,),
    widths=(1024,),
    sparsities=(0.95,),
    batches=8,
    small_widths=(256,),
    outputs=(10,),
    trained_units=((300, 100),),
    dataset="digits",
    images=512,
    epochs=4,
    trainings=1,
)
