"""Acts as soon as somebody imports another package, without importing it."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
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
        sys.meta_path.insert(0, _Finder(name, act))


def backend_of_choice() -> str:
    """Return the backend that Keras will choose, as Keras does."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        chosen = json.loads((home / "keras.json").read_text()).get("backend")
    except (OSError, ValueError):
        chosen = None
    return os.environ.get("KERAS_BACKEND") or chosen or "tensorflow"


class _Finder(MetaPathFinder):
    """Finds one module as the finders after it do, and has it loaded by `_Loader`."""

    def __init__(self, name: str, act: Callable[[], object]):
        self.name = name
        self.act = act

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(Loader):
    """Loads a module as another loader does, and then acts."""

    def __init__(self, loader: Any, finder: _Finder):
        self.loader = loader
        self.finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is as if nobody had waited for it.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        sys.meta_path.remove(self.finder)
        self.finder.act()
