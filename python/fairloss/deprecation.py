"""Names, keywords and attributes that were renamed, and work for one more version."""

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

    The function's attribute `renamed` has the names.

    Args:
        names: old keyword -> new keyword.

    Raises:
        TypeError: the call has a keyword by both names.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            for old in names.keys() & keywords.keys():
                if names[old] in keywords:
                    raise TypeError(f"{names[old]}: expected it or its old name {old}, got both")
                message = f"{function.__qualname__}: {old} was renamed to {names[old]}"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                keywords[names[old]] = keywords.pop(old)
            return function(*arguments, **keywords)

        call.__dict__["renamed"] = names
        return cast(F, call)

    return decorate


class RenamedAttribute:
    """Old name of an attribute of a class or of its instances, which warns.

    Args:
        new: the new name.
    """

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the old name."""
        self.message = f"{owner.__qualname__}.{name} was renamed to {self.new}"

    def __get__(self, instance: object, owner: type) -> Any:
        """Return the attribute of the new name."""
        warnings.warn(self.message, DeprecationWarning, stacklevel=2)
        return getattr(owner if instance is None else instance, self.new)

    def __set__(self, instance: object, value: object) -> None:
        """Set the attribute of the new name."""
        warnings.warn(self.message, DeprecationWarning, stacklevel=2)
        setattr(instance, self.new, value)
