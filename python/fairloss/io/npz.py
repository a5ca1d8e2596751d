"""Reading of files of several named arrays (.npz)."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.io.atomic import FormatError


def read_npz(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the named arrays; FormatError if the file is missing, damaged, or lacks one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile, zlib and numpy raise errors of many types
        raise FormatError(path, f"no file of the expected arrays, or damaged: {error}") from error
