"""Reads the docstrings' `Example:` as the section of examples that it is."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section `Example:`, which Griffe knows in the plural only."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename it in the docstring of one object."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", text)
