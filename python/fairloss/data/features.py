"""Feature files: an (N, D) array in `.npy` and a manifest that names its rows, beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.data.npy import check_npy, read_matrix, write_npy
from fairloss.data.suffixes import match_names
from fairloss.data.text_files import StrPath, check_format, read_json_object
from fairloss.io.atomic import FormatError
from fairloss.io.json import VERSION, write_json
from fairloss.io.mapped import check_unchanged
from fairloss.typing import Floats, Ints


@dataclass(frozen=True, eq=False)
class Features:
    """Embeddings with a name for each row.

    Attributes:
        embeddings: (N, D) floating point, memory-mapped, not normalized.
        names: N image names, all different.
        identities: N names of identities, or None if the file has none.
        checkpoint_sha256: of the network's file, or None if the file has none.
        flip: whether features of mirror images were added, or None likewise.
        path: of the file, for errors.
    """

    embeddings: Floats
    names: list[str]
    identities: list[str] | None = None
    checkpoint_sha256: str | None = None
    flip: bool | None = None
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, names: Iterable[str]) -> Ints:
        """Return the row of each image: that of its name, or of its name with another suffix.

        Suffixes are those of images (.jpg, .png), as `match_names` compares them.

        Raises:
            FormatError: naming the file, where it is known: a name has no row, or two rows differ
                from it in the suffix alone.
        """
        source = self.path or "features"
        return np.array(match_names(list(names), self.names, source), dtype=np.int64)


def read_features(path: StrPath) -> Features:
    """Read features that `write_features` or `fairloss embed` wrote; the array stays on disk.

    Raises:
        FormatError: naming the file: the array is truncated or not (N, D) floating point, or the
            manifest is missing, of another version or of another length.
    """
    file = Path(path)
    embeddings = read_matrix(file)
    manifest = file.with_suffix(".json")
    value = read_json_object(manifest)
    check_unchanged(embeddings)  # else the names may be those of another array
    check_format(value.get("version") == VERSION, manifest, f"not a manifest of version {VERSION}")
    names = _texts(manifest, "names", value.get("names"))
    count, rows = len(names), len(embeddings)
    check_format(count == rows, manifest, f"{count} names for the {rows} rows of {file.name}")
    check_format(len(set(names)) == count, manifest, "names: some are given twice")
    identities = _identities(manifest, value, count)
    digest, flip = value.get("checkpoint_sha256"), value.get("flip")
    return Features(embeddings, names, identities, digest, flip, file)


def write_features(
    path: StrPath,
    names: Sequence[str],
    embeddings: Floats,
    identities: Sequence[str] | None = None,
) -> None:
    """Write `path` (.npy) and its manifest (.json), the array first, each atomically."""
    file = Path(path)
    check_npy(file)
    remove_manifest(file)
    write_npy(file, embeddings)
    write_manifest(file, names, identities)


def remove_manifest(file: Path) -> None:
    """Remove the manifest of an array that is to be replaced: it would name other rows."""
    file.with_suffix(".json").unlink(missing_ok=True)


def write_manifest(
    file: Path, names: Sequence[str], identities: Sequence[str] | None = None, **more: Any
) -> None:
    """Write the names of the rows of `file` into the .json beside it."""
    value: dict[str, Any] = {"names": list(names)}
    if identities is not None:
        label_of = {name: label for label, name in enumerate(dict.fromkeys(identities))}
        labels = [label_of[name] for name in identities]
        value |= {"identities": list(label_of), "labels": labels}
    write_json(file.with_suffix(".json"), value | more)


def _texts(path: Path, name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FormatError(path, f"{name}: expected a list of texts")
    return value


def _identities(path: Path, value: dict[str, Any], count: int) -> list[str] | None:
    if "labels" not in value:
        return None
    names, labels = _texts(path, "identities", value.get("identities")), value["labels"]
    if not isinstance(labels, list) or len(labels) != count:
        raise FormatError(path, f"labels: expected a list of {count}")
    valid = all(type(label) is int and 0 <= label < len(names) for label in labels)
    check_format(valid, path, f"labels: expected numbers 0..{len(names) - 1}")
    return [names[label] for label in labels]
