"""The files of the MegaFace development kit: one feature file an image, JSON lists, noise lists."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.io.atomic import FormatError, read_text, write_atomic

HEADER = struct.Struct("<4i")  # rows, columns, bytes of a row, OpenCV type
CV_32F = 5
StrPath = str | os.PathLike[str]


def read_vector(path: StrPath) -> npt.NDArray[np.float32]:
    """(D,) from one feature file, an OpenCV matrix of one row or one column.

    Raises:
        FormatError: naming the file: missing, truncated, too long, or another kind of matrix.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    if len(content) < HEADER.size:
        raise FormatError(path, f"{len(content)} bytes, shorter than the header of {HEADER.size}")
    rows, columns, stride, kind = HEADER.unpack_from(content)
    if kind != CV_32F or min(rows, columns) != 1 or stride != 4 * columns:
        raise FormatError(
            path,
            "expected the header rows, columns, stride = 4 columns, type 5 with one row or one "
            f"column, got {rows}, {columns}, {stride}, {kind}",
        )
    expected = HEADER.size + 4 * rows * columns
    if len(content) != expected:
        raise FormatError(path, f"{len(content)} bytes, but its header promises {expected}")
    vector = np.frombuffer(content, "<f4", offset=HEADER.size).astype(np.float32)
    if not np.isfinite(vector).all():
        raise FormatError(path, "holds NaN or infinity")
    return vector


def write_vector(path: Path, vector: npt.NDArray[np.floating[Any]]) -> None:
    """Write (D,) as insightface does: a column, header (D, 1, 4, 5)."""
    content = HEADER.pack(len(vector), 1, 4, CV_32F) + vector.astype("<f4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def read_vectors(
    root: StrPath,
    names: Sequence[str],
    suffix: str,
    progress: Callable[[int, int], object] | None = None,
) -> npt.NDArray[np.float32]:
    """(N, D) from `root/name + suffix` of each name.

    Raises:
        FormatError: as `read_vector`, or a file has another dimension than the first.
    """
    features = np.empty((0, 0), dtype=np.float32)
    for row, name in enumerate(names):
        file = Path(root) / f"{name}{suffix}"
        vector = read_vector(file)
        if not row:
            features = np.empty((len(names), len(vector)), dtype=np.float32)
        if len(vector) != features.shape[1]:
            raise FormatError(
                file, f"{len(vector)} dimensions, the files before it have {features.shape[1]}"
            )
        features[row] = vector
        if progress is not None and (row % 1000 == 999 or row + 1 == len(names)):
            progress(row + 1, len(names))
    return features


@dataclass(frozen=True)
class DevkitList:
    """A list of the kit: image paths, and for probes who they show."""

    paths: list[str]
    identities: list[str] | None


def read_devkit_list(path: StrPath) -> DevkitList:
    """`facescrub_features_list.json` ("path" and "id") or `megaface_features_list.json_*` ("path").

    Raises:
        FormatError: naming the file, if it is not such a list or holds a path twice.
    """
    try:
        value = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(path, f"not JSON: {error}") from error
    paths = value.get("path") if isinstance(value, dict) else None
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) for p in paths):
        raise FormatError(path, 'expected an object whose "path" is a list of image paths')
    if len(set(paths)) != len(paths):
        raise FormatError(path, "a path is listed twice")
    identities = value.get("id")
    if identities is None:
        return DevkitList(paths, None)
    if not isinstance(identities, list) or len(identities) != len(paths):
        raise FormatError(path, f'"id": expected a list of {len(paths)} names')
    return DevkitList(paths, [str(identity) for identity in identities])


def write_devkit_list(path: Path, listed: DevkitList) -> None:
    """Write a list as the kit has it."""
    value = {"path": listed.paths}
    if listed.identities is not None:
        value["id"] = listed.identities
    write_atomic(path, lambda temporary: temporary.write_text(json.dumps(value)))


def read_noise_list(path: StrPath) -> frozenset[str]:
    """Insightface's `facescrub_noises.txt` (file names) or `megaface_noises.txt` (paths).

    Lines that start with # are comments; of tab-separated fields the second is the path.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    kept = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return frozenset(fields[1] if len(fields) > 1 else fields[0] for fields in kept)
