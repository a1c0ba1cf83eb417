"""Training functions that are older than the newest mask are made anew.

Keras traces the training step of a model once. A step that was traced before a mask was
installed never applies it, whichever model the mask was installed on: a model inside,
or one that shares a layer.
"""

import weakref
from collections.abc import Callable
from typing import Any

import keras

from keras_initprune import backend

_state = {"version": 0}
_traced: Any = weakref.WeakKeyDictionary()


def masks_changed() -> None:
    """Note that constraints have changed, so that training functions are too old."""
    _state["version"] += 1


def make_train_function(
    inner: Callable[..., Any], model: keras.Model, force: bool = False
) -> Any:
    """Do what `Model.make_train_function` does, also if masks are newer."""
    stale = _traced.get(model, 0) < _state["version"]
    result = backend.make_train_function(inner, model, force or stale)
    _traced[model] = _state["version"]
    return result
