"""Files of one array (`.npy`): atomic writing, at once or in parts, and checked reading."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.data.text_files import StrPath, check_format
from fairloss.io.atomic import FormatError, write_atomic
from fairloss.io.mapped import MappedArray, open_npy

Array = npt.NDArray[Any]


def check_npy(path: Path) -> None:
    """Raise ValueError unless the name ends in .npy."""
    expect(path.suffix == ".npy", "output", "a name that ends in .npy", path)


def write_npy(path: Path, array: Array) -> None:
    """Write one array atomically."""
    write_atomic(path, partial(save_npy, array=array))


def save_npy(path: Path, array: Array) -> None:
    """Write one array; errors give their reason, which those of `np.save` do not."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header | {"fortran_order": False})
        file.write(np.ascontiguousarray(array).data)


def write_npy_parts(path: Path, parts: Iterable[Array], count: int) -> None:
    """Write an array of `count` rows atomically from C-ordered parts of one dtype and row shape.

    Raises:
        ValueError: the parts have another number of rows in all.
    """

    def write(temporary: Path) -> None:
        rows = 0
        with temporary.open("wb") as file:
            for number, part in enumerate(parts):
                if number == 0:
                    header = np.lib.format.header_data_from_array_1_0(part)
                    header |= {"fortran_order": False, "shape": (count, *part.shape[1:])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(part.tobytes())
                rows += len(part)
        expect(rows == count, "parts", f"{count} rows in all", rows)

    write_atomic(path, write)


def is_flat(array: Array) -> bool:
    """Return True if at most one dimension is longer than 1."""
    return array.ndim > 0 and array.size == max(array.shape)


def map_npy(path: StrPath, mode: Literal["r", "c"] = "r") -> MappedArray:
    """Return `open_npy`; FormatError if the file cannot be read or is damaged."""
    try:
        return open_npy(path, mode)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error}") from error
    except Exception as error:  # numpy parses the header as Python: any kind of error may follow
        raise FormatError(path, f"no array, or truncated: {error}") from error


def read_matrix(path: StrPath) -> MappedArray:
    """Return an (N, D) floating-point array, memory-mapped; FormatError for anything else."""
    array = map_npy(path)
    check_format(
        array.ndim == 2 and array.dtype.kind == "f" and array.size,
        path,
        f"expected (N, D) floating point, got shape {array.shape} and type {array.dtype}",
    )
    promised, size = array.offset + array.nbytes, os.path.getsize(path)
    check_format(size == promised, path, f"{size} bytes, but its header promises {promised}")
    return array
