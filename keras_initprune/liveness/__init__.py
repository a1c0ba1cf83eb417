"""Which units of a model depend on its inputs, and which its outputs depend on."""

from keras_initprune.liveness.observation import Observation, nonzero_mask, observe

__all__ = ["Observation", "nonzero_mask", "observe"]
