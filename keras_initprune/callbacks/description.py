"""Describes callbacks as plain values."""

import inspect
from typing import Any

from keras_initprune import validation


def describe(callback: Any) -> dict[str, Any]:
    """Return a callback's class name and arguments, to be kept with a run's record.

    It relies on the habit that every constructor argument is an attribute. Functions,
    layers and patterns become text.
    """
    names = [
        name
        for name in inspect.signature(type(callback)).parameters
        if hasattr(callback, name)
    ]
    arguments = {name: _plain(getattr(callback, name)) for name in names}
    return {"callback": type(callback).__name__, **arguments}


def _plain(value: Any) -> Any:
    is_plain = isinstance(value, bool | int | float | str | dict | None)
    return value if is_plain else validation.text(value)
