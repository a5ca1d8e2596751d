"""Files of the MegaFace development kit: one feature file an image, JSON lists, noise lists."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairloss.data.text_files import StrPath, check_format, read_json_object, read_lines
from fairloss.io.atomic import FormatError, report_unreadable, write_text
from fairloss.typing import Float32s, Floats

HEADER = struct.Struct("<4i")  # rows, columns, bytes of a row, OpenCV type
CV_32F = 5


def read_vector(path: StrPath) -> Float32s:
    """Return (D,) from one feature file, an OpenCV matrix of one row or one column.

    Raises:
        FormatError: naming the file: missing, truncated, too long, or another kind of matrix.
    """
    with report_unreadable(path):
        content = Path(path).read_bytes()
    size = len(content)
    check_format(size >= HEADER.size, path, f"{size} bytes, shorter than the header of 16")
    rows, columns, stride, kind = HEADER.unpack_from(content)
    check_format(
        kind == CV_32F and min(rows, columns) == 1 and stride == 4 * columns,
        path,
        "expected the header rows, columns, stride = 4 columns, type 5 with one row or one "
        f"column, got {rows}, {columns}, {stride}, {kind}",
    )
    promised = HEADER.size + 4 * rows * columns
    check_format(size == promised, path, f"{size} bytes, but its header promises {promised}")
    vector = np.frombuffer(content, "<f4", offset=HEADER.size).astype(np.float32)
    check_format(np.isfinite(vector).all(), path, "holds NaN or infinity")
    return vector


def write_vector(path: Path, vector: Floats) -> None:
    """Write (D,) as insightface does: a column, header (D, 1, 4, 5)."""
    content = HEADER.pack(len(vector), 1, 4, CV_32F) + vector.astype("<f4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def read_vectors(
    root: StrPath,
    names: Sequence[str],
    suffix: str,
    progress: Callable[[int, int], object] | None = None,
) -> Float32s:
    """Return (N, D) from `root/name + suffix` of each name.

    Raises:
        FormatError: as `read_vector`, or a file has another dimension than the first.
    """
    features = np.empty((0, 0), dtype=np.float32)
    for row, name in enumerate(names):
        file = Path(root) / f"{name}{suffix}"
        vector = read_vector(file)
        if row == 0:
            features = np.empty((len(names), len(vector)), dtype=np.float32)
        size, before = len(vector), features.shape[1]
        check_format(size == before, file, f"{size} dimensions, the files before it have {before}")
        features[row] = vector
        if progress is not None and (row % 1000 == 999 or row + 1 == len(names)):
            progress(row + 1, len(names))
    return features


@dataclass(frozen=True)
class DevkitList:
    """A list of the kit: image paths, and for probes the identity of each."""

    paths: list[str]
    identities: list[str] | None


def read_devkit_list(path: StrPath) -> DevkitList:
    """Read `facescrub_features_list.json` ("path", "id") or `megaface_features_list.json_*`.

    Raises:
        FormatError: naming the file, if it is not such a list or holds a path twice.
    """
    value = read_json_object(path)
    paths, identities = value.get("path"), value.get("id")
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) for p in paths):
        raise FormatError(path, 'expected an object whose "path" is a list of image paths')
    check_format(len(set(paths)) == len(paths), path, "a path is listed twice")
    if identities is None:
        return DevkitList(paths, None)
    if not isinstance(identities, list) or len(identities) != len(paths):
        raise FormatError(path, f'"id": expected a list of {len(paths)} names')
    return DevkitList(paths, [str(identity) for identity in identities])


def write_devkit_list(path: Path, listed: DevkitList) -> None:
    """Write a list in the kit's format."""
    identities = {} if listed.identities is None else {"id": listed.identities}
    write_text(path, json.dumps({"path": listed.paths} | identities))


def read_noise_list(path: StrPath) -> frozenset[str]:
    """Read insightface's `facescrub_noises.txt` (file names) or `megaface_noises.txt` (paths).

    Lines that start with # are comments; of tab-separated fields the second is the path.
    """
    # strict, because a name with a damaged byte would match none, and its noise would stay
    listed = [line for line in read_lines(path, "strict") if not line.startswith("#")]
    lines = [line.split("\t") for line in listed]
    return frozenset(fields[1] if len(fields) > 1 else fields[0] for fields in lines)
