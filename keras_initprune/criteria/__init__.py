"""Criteria score weights, higher = keep.

Those that score a network before training are subclasses of `Criterion`, by name in
`CRITERIA`. `fitness` and `dissipation` hold the pure functions behind the callbacks.
"""

from keras_initprune.criteria.criterion import Criterion, Problem
from keras_initprune.criteria.normalised import Normalised
from keras_initprune.criteria.registry import CRITERIA, get
from keras_initprune.criteria.sensitivity import FORCE, SNIP, GraSP, IterativeSNIP
from keras_initprune.criteria.synflow import SynFlow
from keras_initprune.criteria.weights import Magnitude, Random

__all__ = [
    "CRITERIA",
    "FORCE",
    "SNIP",
    "Criterion",
    "GraSP",
    "IterativeSNIP",
    "Magnitude",
    "Normalised",
    "Problem",
    "Random",
    "SynFlow",
    "get",
]
