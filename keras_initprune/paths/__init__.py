"""Which units of a model depend on its inputs, and which its outputs depend on."""

from keras_initprune.paths.inputs import UnknownInputsError
from keras_initprune.paths.observation import Observation, nonzero_mask, observe
from keras_initprune.paths.substitutes import as_floats

__all__ = ["Observation", "UnknownInputsError", "as_floats", "nonzero_mask", "observe"]
