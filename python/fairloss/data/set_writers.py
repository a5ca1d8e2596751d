"""Writers of labeled images, as files, arrays or records, that resume where they stopped."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar, NamedTuple

import numpy as np
from typing_extensions import Self

from fairloss.checks import expect
from fairloss.data.arrays import IMAGES, write_index
from fairloss.data.decode import pillow
from fairloss.data.record_writer import first_record, identity_records, pack_record
from fairloss.data.records import MAX_LABEL, TRAIN_REC
from fairloss.data.suffixes import content_suffix, suffix_format
from fairloss.data.text_files import check_format
from fairloss.io.atomic import read_text, write_text
from fairloss.io.json import write_json
from fairloss.typing import Ints

TRAIN_INDEX, TRAIN_NAMES = "train.idx", "train.json"
PROPERTY = "property"


class Image(NamedTuple):
    """One image of a set that is written.

    Attributes:
        number: 0, 1, ... in the order of writing.
        label: position of its identity.
        identity: its name.
        name: of the image in its identity.
        content: the encoded image, or its uint8 (channels, H, W) pixels as bytes for arrays.
    """

    number: int
    label: int
    identity: str
    name: str
    content: bytes


class Written(NamedTuple):
    """The set that a writer wrote; the N names are those in the identities."""

    labels: Ints
    names: list[str]
    identities: list[str]
    mirror: bool


class SetWriter(ABC):
    """Writes a set into a folder of its own.

    A writer that takes the place of one that was stopped cuts the files that grow to the sizes that
    `flush` returned, and writes the images that follow these. An image may be written twice.

    Args:
        folder: made if it does not exist.
        shape: (channels, H, W) of the pixels, used for arrays.
        sizes: of the files in `appended`, as `flush` returned them; none at the start.

    Raises:
        FormatError: a file is shorter than its size.
    """

    decoded: ClassVar[bool] = False
    appended: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path, shape: tuple[int, int, int], sizes: Mapping[str, int]) -> None:
        self.folder, self.shape = folder, shape
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.files = {n: stack.enter_context(self._open(n, sizes)) for n in self.appended}
            self._stack = stack.pop_all()
        if not sizes:
            self.begin()

    def _open(self, name: str, sizes: Mapping[str, int]) -> BinaryIO:
        path, size = self.folder / name, sizes.get(name, 0)
        path.touch()
        check_format(path.stat().st_size >= size, path, f"expected at least {size} bytes")
        os.truncate(path, size)
        file = path.open("r+b")
        file.seek(0, os.SEEK_END)
        return file

    def flush(self) -> dict[str, int]:
        """Bring what was written to the disk; return the sizes of the files that grow."""
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self.files.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @classmethod
    def check(cls, identities: list[str]) -> None:
        """Raise ValueError, before anything is written, for identities that cannot be."""
        count = len(identities)
        expect(count <= MAX_LABEL, "identities", f"at most {MAX_LABEL}", count)

    @abstractmethod
    def begin(self) -> None:
        """Write the beginnings of the files that grow."""

    @abstractmethod
    def write(self, image: Image) -> None:
        """Write one image; those of one identity come one after the other."""

    @abstractmethod
    def finish(self, written: Written) -> None:
        """Write what follows the last image."""


class FolderWriter(SetWriter):
    """Writes `identity/image` files, with a suffix that fits their content."""

    @classmethod
    def check(cls, identities: list[str]) -> None:
        """Raise ValueError for names that cannot be those of folders, or would be hidden."""
        super().check(identities)
        bad = [name for name in identities if not is_file_name(name)]
        got = f"{len(bad)} other, the first {next(iter(bad), None)!r}"
        expect(not bad, "identities", "names of folders", got)

    def begin(self) -> None:
        """Write nothing: no file grows."""

    def write(self, image: Image) -> None:
        """Write a file."""
        folder = self.folder / image.identity
        folder.mkdir(exist_ok=True)
        (folder / file_name(image.name, image.content)).write_bytes(image.content)

    def finish(self, written: Written) -> None:
        """Check that no image replaced another one."""
        numbers = Counter(written.labels.tolist())
        for label, identity in enumerate(written.identities):
            files = len(os.listdir(self.folder / identity))
            problem = f"{numbers[label]} images of {identity!r} have {files} different names"
            check_format(files == numbers[label], self.folder, problem)


class ArrayWriter(SetWriter):
    """Writes a folder of arrays, as `write_arrays`."""

    decoded = True
    appended = (IMAGES,)

    def begin(self) -> None:
        """Write the header of an empty array."""
        self._write_header(0)

    def write(self, image: Image) -> None:
        """Append the pixels of an image."""
        self.files[IMAGES].write(image.content)

    def finish(self, written: Written) -> None:
        """Write the number of images into the header, and the other files."""
        self.files[IMAGES].seek(0)
        self._write_header(len(written.labels))  # of the same length for any number
        self.flush()
        positions: dict[str, int] = {}
        variants = [positions.setdefault(name, len(positions)) for name in written.names]
        write_index(
            self.folder,
            written.labels,
            np.array(variants),
            written.identities,
            list(positions),
            written.mirror,
        )

    def _write_header(self, count: int) -> None:
        shape = (count, *self.shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.files[IMAGES], header)


class RecordWriter(SetWriter):
    """Writes `train.rec`, `train.idx` and `property` as insightface has them.

    `property` holds the number of identities and the height and width of the first image that can
    be opened. `train.json` beside them has the names, for which records have no space.
    """

    appended = (TRAIN_REC, TRAIN_INDEX)

    def begin(self) -> None:
        """Write record 0, whose labels follow at the end."""
        self._append(0, first_record(0, 0))

    def write(self, image: Image) -> None:
        """Append a record."""
        key = image.number + 1
        self._append(key, pack_record(key, image.label, (), image.content))
        path = self.folder / PROPERTY
        if not path.exists():
            # a damaged image, which is copied, may raise any error
            with suppress(Exception), pillow().open(BytesIO(image.content)) as opened:
                write_text(path, f"{opened.height},{opened.width}")

    def finish(self, written: Written) -> None:
        """Append the records of the identities, and write the other files."""
        sizes = np.bincount(written.labels)
        starts, images = np.cumsum(sizes) - sizes + 1, len(written.labels)
        for key, record in enumerate(identity_records(starts.tolist(), images), images + 1):
            self._append(key, record)
        self.files[TRAIN_REC].seek(0)
        self.files[TRAIN_REC].write(first_record(images, len(sizes)))
        self.flush()
        path = self.folder / PROPERTY
        sides = read_text(path).split(",")[-2:] if path.exists() else self.shape[1:]
        write_text(path, ",".join(map(str, (len(sizes), *sides))))
        parts = zip(written.labels.tolist(), written.names, strict=True)
        names = [f"{written.identities[label]}/{name}" for label, name in parts]
        size = (self.folder / TRAIN_REC).stat().st_size
        entries = {"size": size, "identities": written.identities, "names": names}
        write_json(self.folder / TRAIN_NAMES, entries)

    def _append(self, key: int, record: bytes) -> None:
        file = self.files[TRAIN_REC]
        self.files[TRAIN_INDEX].write(f"{key}\t{file.tell()}\n".encode("ascii"))
        file.write(record)


def is_file_name(name: str) -> bool:
    """Return True for the name of a file or folder that is not hidden."""
    visible = name and not name.startswith(".") and "\0" not in name
    return bool(visible) and PurePosixPath(name).name == name


def file_name(name: str, content: bytes) -> str:
    """Return a name with the suffix of its content, which is added if it has another one."""
    suffix = content_suffix(content)
    same = suffix_format(PurePosixPath(name).suffix) == suffix_format(suffix)
    return name if same else name + suffix


def names_in_identity(names: list[str]) -> list[str]:
    """Return different names for the images of an identity, for files in one folder.

    They are the last parts of the names, or where two of these are equal, all parts joined by "_".
    """
    last = [PurePosixPath(name).name for name in names]
    if len(set(last)) < len(last):
        last = [name.replace("/", "_") for name in names]
    if len(set(last)) < len(last):
        last = [f"{number}_{name}" for number, name in enumerate(last)]
    return [name if name and name[0] != "." else f"_{name}" for name in last]
