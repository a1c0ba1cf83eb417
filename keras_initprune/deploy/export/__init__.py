"""Writes models for where they run: Keras, TensorFlow, LiteRT, NumPy, ONNX."""

from keras_initprune.deploy.export.exporting import (
    FORMATS,
    Format,
    check_target,
    export,
)

__all__ = ["FORMATS", "Format", "check_target", "export"]
