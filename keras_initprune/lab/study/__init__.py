"""A study: many parts, each a grid of runs, out of one configuration file."""

from keras_initprune.lab.study.engine import StudyResults, run_study
from keras_initprune.lab.study.plan import Part, Study, read_study
from keras_initprune.lab.study.reports import write_reports

__all__ = ["Part", "Study", "StudyResults", "read_study", "run_study", "write_reports"]
