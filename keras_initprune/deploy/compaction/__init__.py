"""Smaller models that compute the same function."""

from keras_initprune.deploy.compaction.compact import (
    CompactionReport,
    CompactionRow,
    compact,
    compaction_report,
)

__all__ = ["CompactionReport", "CompactionRow", "compact", "compaction_report"]
