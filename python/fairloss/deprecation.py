"""Names that were renamed, and work for one more version."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for `module` that warns of an old name and returns the new object.

    Args:
        module: `__name__` of the module that had the old names.
        names: old name -> "package.module:name".
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        source, _, new = names[name].partition(":")
        message = f"{module}.{name} was renamed to {source}.{new}; the old name will be removed"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(source), new)

    return __getattr__
