"""The data set of a RecordIO file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fairloss.data.encoded_images import EncodedImages
from fairloss.data.packed_names import PackedNames
from fairloss.data.records import RecordFile, image_rows
from fairloss.data.text_files import StrPath, check_format
from fairloss.io.json import read_json_if_exists

NAMES = ".json"  # suffix of the file with names beside records


class RecordImages(EncodedImages):
    """The images of MXNet's `train.rec`, decoded when they are asked for; without mxnet.

    Only headers are read when the set is made, through `train.idx` where it is beside the file.
    Images are in the order of their keys. An identity is named by its label in the file: labels
    0..C-1 stay as they are, and gaps between others are closed. The name of an image is
    "label/key". Where `train.json` is beside the file, as `fairloss data convert` writes it, the
    names are those in it. Of several labels of an image the first is its identity.

    Args:
        path: of the .rec.
        image_size: (H, W), as in `read_folder`.
        channels: 1 for gray, 3 for RGB.
        mirror: whether a mirrored image still shows its identity.

    Raises:
        FormatError: a file is damaged, the .idx or .json is of another file, or a label is no
            integer from 0 to 2^24 - 1, beyond which those of a file are rounded.
    """

    def __init__(
        self,
        path: StrPath,
        image_size: tuple[int, int] = (112, 112),
        channels: int = 3,
        *,
        mirror: bool = True,
    ) -> None:
        records = RecordFile(path)
        rows = image_rows(records)
        values, labels = np.unique(records.labels[rows].astype(np.int64), return_inverse=True)
        identities = [str(value) for value in values.tolist()]
        keys = zip(labels.tolist(), records.keys[rows].tolist(), strict=True)
        names = PackedNames(f"{identities[label]}/{key}" for label, key in keys)
        size = image_size, channels
        beside = _read_names(Path(path), len(values), len(rows))
        identities, names = beside or (identities, names)
        super().__init__(records, rows, labels, identities, names, *size, mirror=mirror)


def _read_names(
    records: Path, identities: int, images: int
) -> tuple[list[str], PackedNames] | None:
    """Return the names in the file beside records, or None if there is no such file."""
    path = records.with_suffix(NAMES)
    entries = read_json_if_exists(path, size=int, identities=list, names=list)
    if entries is None:
        return None
    size = records.stat().st_size
    problem = f"expected names of {size} bytes of records, got those of {entries['size']}"
    check_format(entries["size"] == size, path, f"{problem}; is it the file of another .rec?")
    for key, count in (("identities", identities), ("names", images)):
        names = entries[key]
        texts = len(names) == count and all(isinstance(name, str) for name in names)
        check_format(texts, path, f'"{key}": expected {count} names, as there are in the records')
    return entries["identities"], PackedNames(entries["names"])
