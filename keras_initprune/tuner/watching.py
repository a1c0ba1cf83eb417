"""What can be watched of a search while it goes on."""

from typing import Any


class Watcher:
    """Hears what happens in a search. Subclasses override what interests them."""

    def trial_begin(self, trial: Any) -> None:
        """A trial begins, here or in a worker."""

    def batch_end(self) -> None:
        """A step of training in this process is over."""

    def epoch_end(self, trial: Any) -> None:
        """An epoch of training in this process is over."""

    def trial_end(self, trial: Any) -> None:
        """A trial is over, completed or failed."""

    def worker_lost(self, tuner_id: str, trial: Any) -> None:
        """A worker has been silent for too long, with its trial or None."""

    def tick(self) -> None:
        """Some time has passed in a chief."""
