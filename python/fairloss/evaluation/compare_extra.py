"""The statistics of scipy and statsmodels, which the extra `compare` installs."""

import importlib
from types import ModuleType


def import_extra(name: str) -> ModuleType:
    """Return a module of scipy or statsmodels; ImportError naming the extra if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'comparing runs needs {name.split(".")[0]}: pip install "fairloss-ext[compare]"'
        ) from error
