"""Feature files: an (N, D) array in `.npy` and a manifest that names its rows, beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.io.atomic import FormatError, read_text, write_atomic

VERSION = 1


@dataclass(frozen=True, eq=False)
class Features:
    """Embeddings with a name for each row.

    Attributes:
        embeddings: (N, D) floating point, memory-mapped, not normalised.
        names: N image names, all different.
        identities: N names of people, or None where the writer did not know them.
        checkpoint_sha256: of the network's file, or None where the writer did not know it.
        flip: whether features of mirror images were added, or None likewise.
    """

    embeddings: npt.NDArray[np.floating[Any]]
    names: list[str]
    identities: list[str] | None = None
    checkpoint_sha256: str | None = None
    flip: bool | None = None

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, names: Iterable[str]) -> npt.NDArray[np.int64]:
        """Row of each name, compared without the suffix of the file (.jpg, .png).

        Raises:
            ValueError: a name has no row, or two rows differ in the suffix alone.
        """
        place = {stem(name): row for row, name in enumerate(self.names)}
        if len(place) != len(self.names):
            raise ValueError("features: two names differ in the suffix of the file alone")
        wanted = [(name, place.get(stem(name))) for name in names]
        missing = [name for name, row in wanted if row is None]
        if missing:
            raise ValueError(
                f"features: {len(missing)} of {len(wanted)} images have no row, the first "
                f"{missing[0]!r}; rows are named like {self.names[0]!r}"
            )
        return np.array([row for _, row in wanted], dtype=np.int64)


def stem(name: str) -> str:
    """A name without the suffix of the file, with forward slashes."""
    return str(PurePosixPath(name.replace("\\", "/")).with_suffix("")) if name else name


def read_features(path: str | os.PathLike[str]) -> Features:
    """Features that `write_features` or `fairloss embed` wrote; the array stays on disk.

    Raises:
        FormatError: naming the file: the array is truncated or not (N, D) floating point, or the
            manifest is missing, of another version or of another length.
    """
    file = Path(path)
    embeddings = read_matrix(file)
    manifest = file.with_suffix(".json")
    try:
        value = json.loads(read_text(manifest))
    except (ValueError, RecursionError) as error:
        raise FormatError(manifest, f"no manifest of {file.name}: {error}") from error
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise FormatError(manifest, f"not a manifest of version {VERSION}")
    names = _texts(manifest, "names", value.get("names"))
    if len(names) != len(embeddings):
        raise FormatError(
            manifest, f"{len(names)} names for the {len(embeddings)} rows of {file.name}"
        )
    if len(set(names)) != len(names):
        raise FormatError(manifest, "names: some are given twice")
    people = _people(manifest, value, len(names))
    return Features(embeddings, names, people, value.get("checkpoint_sha256"), value.get("flip"))


def write_features(
    path: str | os.PathLike[str],
    names: Sequence[str],
    embeddings: npt.NDArray[np.floating[Any]],
    identities: Sequence[str] | None = None,
) -> None:
    """Write `path` (.npy) and its manifest (.json), the array first, each whole."""
    file = Path(path)
    check_npy(file)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as opened:
            np.save(opened, embeddings)

    write_atomic(file, write)
    write_manifest(file, names, identities)


def write_manifest(
    file: Path, names: Sequence[str], identities: Sequence[str] | None = None, **more: Any
) -> None:
    """The names of the rows of `file`, in the .json beside it."""
    value: dict[str, Any] = {"version": VERSION, "names": list(names)}
    if identities is not None:
        people = list(dict.fromkeys(identities))
        place = {person: label for label, person in enumerate(people)}
        value |= {"identities": people, "labels": [place[person] for person in identities]}
    text = json.dumps(value | more, indent=1) + "\n"
    write_atomic(file.with_suffix(".json"), lambda temporary: temporary.write_text(text))


def check_npy(path: Path) -> None:
    """ValueError unless the name ends in .npy."""
    if path.suffix != ".npy":
        raise ValueError(f"output: got {path}, expected a name that ends in .npy")


def read_matrix(path: str | os.PathLike[str]) -> npt.NDArray[np.floating[Any]]:
    """An (N, D) floating-point `.npy`, memory-mapped; FormatError for anything else."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error}") from error
    except Exception as error:  # numpy parses the header as Python: any kind of error may follow
        raise FormatError(path, f"no array, or truncated: {error}") from error
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise FormatError(
            path, f"expected (N, D) floating point, got shape {array.shape} and type {array.dtype}"
        )
    expected, size = array.offset + array.nbytes, os.path.getsize(path)
    if size != expected:
        raise FormatError(path, f"{size} bytes, but its header promises {expected}")
    return array


def _texts(path: Path, name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FormatError(path, f"{name}: expected a list of texts")
    return value


def _people(path: Path, value: dict[str, Any], count: int) -> list[str] | None:
    if "labels" not in value:
        return None
    people = _texts(path, "identities", value.get("identities"))
    labels = value["labels"]
    if not isinstance(labels, list) or len(labels) != count:
        raise FormatError(path, f"labels: expected a list of {count}")
    if not all(type(label) is int and 0 <= label < len(people) for label in labels):
        raise FormatError(path, f"labels: expected numbers 0..{len(people) - 1}")
    return [people[label] for label in labels]
