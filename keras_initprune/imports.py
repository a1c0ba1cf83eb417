"""Acts when somebody imports another package, and says how to install what lacks."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


def after_import(name: str, act: Callable[[], object]) -> None:
    """Call a function once a module is there: now, or when it is first imported.

    Example:
        >>> after_import("sys", lambda: print("there"))
        there
    """
    if sys.modules.get(name) is not None:
        act()
    else:
        watch: Any = _Watch(name, act)
        sys.meta_path.insert(0, watch)


def backend_of_choice() -> str:
    """Return the backend that Keras will choose, as Keras does."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        chosen = json.loads((home / "keras.json").read_text()).get("backend")
    except (OSError, ValueError):
        chosen = None
    return os.environ.get("KERAS_BACKEND") or chosen or "tensorflow"


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Have imports that fail say what to install.

    Raises:
        ImportError: If it is not installed.

    Example:
        >>> with needs("plots"):
        ...     import no_such_package
        Traceback (most recent call last):
        ImportError: `no_such_package` is missing: pip install 'keras_initprune[plots]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("keras_initprune"):
            raise
        raise ImportError(
            f"`{error.name}` is missing: pip install 'keras_initprune[{extra}]'",
            name=error.name,
        ) from error


class _Watch:
    """Finds and loads one module as others do, and then acts."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self.name = name
        self.act = act
        self.loader: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec: Any = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is as if nobody had waited for it.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        sys.meta_path.remove(self)
        self.act()
