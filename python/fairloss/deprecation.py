"""Names and keywords that were renamed, and work for one more version."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


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


def renamed_keywords(**names: str) -> Callable[[F], F]:
    """Return a decorator that takes old keywords, with a warning, in place of the new ones.

    Args:
        names: old keyword -> new keyword.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            for old in names.keys() & keywords.keys():
                message = f"{function.__qualname__}: {old} was renamed to {names[old]}"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                keywords[names[old]] = keywords.pop(old)
            return function(*arguments, **keywords)

        return cast(F, call)

    return decorate
