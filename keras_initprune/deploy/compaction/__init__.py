"""Smaller models that compute the same function."""

from keras_initprune.deploy.compaction.compact import compact, compaction_report
from keras_initprune.deploy.compaction.report import CompactionReport, CompactionRow

__all__ = ["CompactionReport", "CompactionRow", "compact", "compaction_report"]
