"""Data sets of image files in a folder or a list, decoded when they are asked for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fairloss.data.decode import warn_left_out
from fairloss.data.encoded_images import EncodedImages
from fairloss.data.image_folder import Listing, image_name, list_folder, natural_key
from fairloss.data.packed_names import PackedNames
from fairloss.data.text_files import StrPath, check_format, read_lines, split_fields
from fairloss.io.atomic import report_unreadable
from fairloss.io.mapped import file_version
from fairloss.typing import Ints


class FolderImages(EncodedImages):
    """The images of `folder/identity/image.*`, decoded when they are asked for.

    Identities and images are those of `read_folder`, in the same order, but an image that cannot
    be decoded is an error when it is asked for.

    Args:
        folder: holds one folder per identity.
        image_size: (H, W), as in `read_folder`.
        channels: 1 for gray, 3 for RGB.
        listing: of the folder, if there is one already.

    Warns:
        UnreadableImage: as `read_folder`, except for files that cannot be decoded.

    Raises:
        ValueError: the folder is missing, or has no image.
        FormatError: a link to a missing file.
    """

    def __init__(
        self,
        folder: StrPath,
        image_size: tuple[int, int] = (112, 112),
        channels: int = 3,
        listing: Listing | None = None,
    ) -> None:
        listing = list_folder(Path(folder)) if listing is None else listing
        for what, left_out, count in listing.left_out():
            warn_left_out(f"{what} left out", left_out, count)
        identities = [identity for identity, files in listing.images.items() if files]
        empty = [identity for identity, files in listing.images.items() if not files]
        warn_left_out("identities without an image left out", empty)
        check_format(identities, folder, f"no image in its {len(empty)} folders")
        sizes = [len(listing.images[identity]) for identity in identities]
        names = PackedNames(image_name(file) for file in listing.files)
        source = _Files(folder, names)
        labels = np.repeat(np.arange(len(sizes)), sizes)
        rows = np.arange(len(names))
        super().__init__(source, rows, labels, identities, names, image_size, channels)


class ListedImages(EncodedImages):
    """The images of a list file, decoded when they are asked for.

    Each line is `path<TAB>label`, with white space in place of the tab if neither has any. A label
    is an integer or a name; identities are in natural order, so that labels 0..C-1 stay as they
    are. The name of an image is its path in the list.

    Args:
        list_file: text file.
        root: folder that paths are relative to; by default the folder of the list file.
        image_size: (H, W), as in `read_folder`.
        channels: 1 for gray, 3 for RGB.

    Raises:
        FormatError: the list is damaged or empty, or a file is missing.
    """

    def __init__(
        self,
        list_file: StrPath,
        root: StrPath | None = None,
        image_size: tuple[int, int] = (112, 112),
        channels: int = 3,
    ) -> None:
        names, labels, identities = read_list(list_file)
        source = _Files(Path(list_file).parent if root is None else root, names)
        rows = np.arange(len(names))
        super().__init__(source, rows, labels, identities, names, image_size, channels)


def read_list(list_file: StrPath) -> tuple[PackedNames, Ints, list[str]]:
    """Return the N paths of a list, their (N,) labels, and the identities.

    Raises:
        FormatError: the list is damaged or empty.
    """
    pairs = [split_fields(line, 2) for line in read_lines(list_file)]
    check_format(pairs, list_file, "no line in it")
    bad = next((" ".join(pair) for pair in pairs if len(pair) != 2), None)
    check_format(bad is None, list_file, f"expected lines path<TAB>label, got {bad!r}")
    identities = sorted({label for _, label in pairs}, key=natural_key)
    positions = {identity: position for position, identity in enumerate(identities)}
    labels = np.array([positions[label] for _, label in pairs])
    return PackedNames(path for path, _ in pairs), labels, identities


class _Files:
    """Image files by their paths in a folder; FormatError for one that is missing."""

    def __init__(self, root: StrPath, names: PackedNames) -> None:
        self._root, self._names = os.path.abspath(root), names
        self._versions: Ints = np.array(
            [self._version(self._path(row)) for row in range(len(names))], np.int64
        )

    def read(self, row: int) -> bytes:
        path = self._path(row)
        with report_unreadable(path), open(path, "rb", buffering=0) as file:
            same = file_version(file.fileno())[1:] == tuple(self._versions[row])
            check_format(same, path, "changed since the data set was opened")
            return file.readall()

    def describe(self, row: int) -> tuple[StrPath, str]:
        return self._path(row), ""

    def version(self) -> bytes:
        return self._versions.tobytes()

    def _path(self, row: int) -> str:
        return os.path.join(self._root, self._names[row])

    @staticmethod
    def _version(path: str) -> tuple[int, int]:
        with report_unreadable(path):
            return file_version(path)[1:]
