"""Smaller models that compute the same function."""

from keras_initprune.compaction.compact import compact, compaction_report
from keras_initprune.compaction.report import CompactionReport, CompactionRow

__all__ = ["CompactionReport", "CompactionRow", "compact", "compaction_report"]
