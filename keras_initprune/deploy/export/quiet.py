"""Keeps TensorFlow's notices about files in between to itself."""

import contextlib
import logging
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let TensorFlow's Python log through from warnings upwards only."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
