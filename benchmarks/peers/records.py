"""What one training is asked to do, and what it finds."""

from dataclasses import dataclass

DENSE = "dense"
NETWORKS = ("perceptron", "lenet5")


@dataclass(frozen=True)
class Task:
    """One training of one network by one method of one peer.

    Attributes:
        peer: Name of the peer.
        method: One of its methods, or `"dense"`.
        network: `"perceptron"` or `"lenet5"`.
        sparsity: Fraction of all kernels' weights to remove; 0 for `"dense"`.
        epochs: Epochs of training in all.
        pruning_epochs: Epochs after which the mask is final.
        images: Training images.
        batch_size: Images in a batch.
        seed: Seed of the weights that training begins with.
    """

    peer: str
    method: str
    network: str
    sparsity: float
    epochs: int
    pruning_epochs: int
    images: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Record:
    """What one training found; None is what could not be had, and `notes` says why.

    Attributes:
        task: What was asked for.
        versions: Of the peer and what it runs on.
        error: Test error after training.
        sparsity: Zeros among all kernels' weights after training.
        seconds: Processor time of the whole training.
        step_seconds: Median processor time of a step with the final mask.
        dense_step_seconds: The same of the peer's own dense network, in turn with it.
        memory: Peak of the process' memory when training ends, in bytes.
        file_size: Bytes of the saved file, without the optimizer.
        zipped_size: Bytes of that file in gzip.
        loaded_error: Test error of what was loaded from the file.
        loaded_sparsity: Its sparsity.
        tuned_sparsity: Sparsity after steps of plain training, without the peer's
            callback, of the model that was trained.
        loaded_tuned_sparsity: The same of the model that was loaded.
        notes: Reasons, by the name of the figure; `"training"` for all of them.
    """

    task: Task
    versions: str
    error: float | None = None
    sparsity: float | None = None
    seconds: float | None = None
    step_seconds: float | None = None
    dense_step_seconds: float | None = None
    memory: int | None = None
    file_size: int | None = None
    zipped_size: int | None = None
    loaded_error: float | None = None
    loaded_sparsity: float | None = None
    tuned_sparsity: float | None = None
    loaded_tuned_sparsity: float | None = None
    notes: dict[str, str] | None = None

    @classmethod
    def from_dict(cls, record: dict) -> "Record":
        """Return what `dataclasses.asdict` has made of a record."""
        return cls(**{**record, "task": Task(**record["task"])})
