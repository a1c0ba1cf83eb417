"""Describes callbacks as plain values."""

import inspect
from typing import Any


def describe(callback: Any) -> dict[str, Any]:
    """Return a callback's class name and arguments, to be kept with a run's record.

    It relies on the habit that every constructor argument is an attribute.
    """
    names = [
        name
        for name in inspect.signature(type(callback)).parameters
        if hasattr(callback, name)
    ]
    arguments = {name: getattr(callback, name) for name in names}
    return {"callback": type(callback).__name__, **arguments}
