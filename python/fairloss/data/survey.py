"""A survey of a data set: what training would read, and what it would leave out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fairloss.checks import expect
from fairloss.data.arrays import holds_arrays, read_arrays, read_index, read_names
from fairloss.data.decode import EncodedImage, decode_batches, decode_bytes, jpeg_decoder, pillow
from fairloss.data.face_images import MEMORY_LIMIT, FaceImages, pixel_bytes
from fairloss.data.image_folder import (
    Listing,
    check_readable,
    image_name,
    is_dead_link,
    list_folder,
    unreadable_reason,
)
from fairloss.data.images import check_one_set, record_file
from fairloss.data.listed_images import read_list
from fairloss.data.record_images import NAMES, RecordImages
from fairloss.data.text_files import StrPath, is_count


@dataclass
class Survey:
    """The contents of a set of images.

    Attributes:
        counts: readable images of each identity, which may have none.
        unreadable: reasons by image.
        dead_links: those of the unreadable images that are links to missing files.
        listing: what else a folder of files holds.
        memory: bytes of the pixels that training would keep in memory.
        refusal: the error with which training would stop; empty if it would not.
        other_sizes: numbers of readable images of each (H, W) that is not that of training.
        duplicates: names of images of one identity with the same bytes, a list for each content.
        shared: the same of images of several identities, with the identity in parentheses where it
            is not in the name.
        label_gaps: ranges of labels, "3" or "3..7", that no image of a list or of records has.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    dead_links: list[str] = field(default_factory=list)
    listing: Listing = field(default_factory=lambda: Listing({}, [], {}, Counter()))
    memory: int = 0
    refusal: str = ""
    other_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    duplicates: list[list[str]] = field(default_factory=list)
    shared: list[list[str]] = field(default_factory=list)
    label_gaps: list[str] = field(default_factory=list)

    @property
    def empty(self) -> list[str]:
        """Identities without a readable image."""
        return [name for name, count in self.counts.items() if not count]

    @property
    def single(self) -> list[str]:
        """Identities with one readable image."""
        return [name for name, count in self.counts.items() if count == 1]

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        names = ("unreadable", "dead_links", "empty", "single", "duplicates", "shared")
        return {
            "identities": len(self.counts) - len(self.empty),
            "images": self.counts.total(),
            "memory": self.memory,
            "refusal": self.refusal,
            "label_gaps": self.label_gaps,
            "other_sizes": {f"{h}x{w}": n for (h, w), n in self.other_sizes.most_common()},
            "left_out": {what: listed for what, listed, count in self.listing.left_out() if count},
        } | {name: getattr(self, name) for name in names}


class _Item(NamedTuple):
    """An image: its name, its identity, a function that reads its content, and its file."""

    name: str
    identity: str
    read: Callable[[], bytes]
    file: Path | None = None


class _Content(NamedTuple):
    digest: bytes
    size: tuple[int, int]  # (H, W)


_Inspect = Callable[[_Item], _Content]


def survey_images(
    path: StrPath,
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
    progress: Callable[[int, int], object] | None = None,
) -> Survey:
    """Decode all images of a set as training does, without keeping them.

    Args:
        path: a folder of arrays or of identity/image files, a `.rec` or a folder with a
            `train.rec`, or a list file.
        image_size: (H, W) of training.
        channels: 1 for gray, 3 for RGB.
        progress: called as progress(done, total).
    """
    survey = Survey()
    try:
        _survey(Path(path), survey, image_size, channels, progress)
        if len(survey.counts) - len(survey.empty) == 1:
            survey.refusal = "expected at least two identities, got one"
    except (ValueError, OSError) as error:
        survey.refusal = str(error)
    return survey


def _survey(
    source: Path,
    survey: Survey,
    image_size: tuple[int, int],
    channels: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    inspect: _Inspect = partial(_inspect, image_size=image_size, channels=channels)
    size = image_size, channels
    records = record_file(source)
    if records is not None or source.is_file():
        items = _listed(source, survey) if records is None else _records(records, survey, size)
        _inspect_all(items, survey, inspect, image_size, progress)
        _refuse_unreadable(survey)  # as images are decoded while training
    elif holds_arrays(source):
        items = _arrays(source, survey, size)
        _inspect_all(items, survey, partial(_hash, size=image_size), image_size, progress)
    else:
        check_one_set(source)
        survey.listing = listing = list_folder(source)
        survey.counts.update(dict.fromkeys(listing.images, 0))
        memory = pixel_bytes(len(listing.files), channels, image_size)
        survey.memory = memory if memory <= MEMORY_LIMIT else 0
        items = [_file(image_name(file), file.parent.name, file) for file in listing.files]
        _inspect_all(items, survey, inspect, image_size, progress)
        check_readable(source, listing, survey.counts.total())
        if memory > MEMORY_LIMIT:
            _refuse_unreadable(survey)


def _file(name: str, identity: str, file: Path) -> _Item:
    return _Item(name, identity, file.read_bytes, file)


def _listed(source: Path, survey: Survey) -> list[_Item]:
    names, labels, identities = read_list(source)
    survey.counts.update(dict.fromkeys(identities, 0))
    survey.label_gaps = _gaps(identities)
    rows = zip(names, labels.tolist(), strict=True)
    return [_file(name, identities[label], source.parent / name) for name, label in rows]


def _records(path: Path, survey: Survey, size: tuple[tuple[int, int], int]) -> list[_Item]:
    images = RecordImages(path, *size)
    survey.counts.update(dict.fromkeys(images.identities, 0))
    if not path.with_suffix(NAMES).is_file():  # else identities have other names than labels
        survey.label_gaps = _gaps(images.identities)
    rows = enumerate(zip(images.names, images.labels.tolist(), strict=True))
    return [
        _Item(name, images.identities[label], partial(images.read_encoded, row))
        for row, (name, label) in rows
    ]


def _arrays(source: Path, survey: Survey, size: tuple[tuple[int, int], int]) -> list[_Item]:
    index = read_index(source)
    identities = index["identities"]
    labels, _ = read_names(source, index)
    survey.counts.update(identities[label] for label in labels.tolist())
    survey.counts.update(dict.fromkeys(identities, 0))
    faces = read_arrays(source, *size)
    survey.counts = Counter(dict.fromkeys(identities, 0))  # images are counted as they are read
    rows = enumerate(zip(faces.names, faces.labels.tolist(), strict=True))
    return [
        _Item(name, faces.identities[label], partial(_pixels, faces, row))
        for row, (name, label) in rows
    ]


def _pixels(faces: FaceImages, row: int) -> bytes:
    return faces.images([row]).numpy().tobytes()


def _inspect(item: _Item, image_size: tuple[int, int], channels: int) -> _Content:
    """Decode an image as training does; any exception of Pillow if it cannot be."""
    data = item.read()
    file = None if item.file is None else str(item.file)
    with pillow().open(EncodedImage(data, file)) as image:
        width, height = image.size
    decode_bytes(data, image_size, channels, jpeg_decoder())
    return _Content(_digest(data), (height, width))


def _hash(item: _Item, size: tuple[int, int]) -> _Content:
    return _Content(_digest(item.read()), size)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _inspect_all(
    items: Sequence[_Item],
    survey: Survey,
    inspect: _Inspect,
    image_size: tuple[int, int],
    progress: Callable[[int, int], object] | None,
) -> None:
    """Enter all images into the survey."""
    rows_of: dict[bytes, list[int]] = {}
    done = 0
    for contents in decode_batches([partial(inspect, item) for item in items]):
        for row, content in enumerate(contents, done):
            item = items[row]
            if isinstance(content, Exception):
                dead = item.file is not None and is_dead_link(item.file)
                survey.dead_links += [item.name] if dead else []
                survey.unreadable[item.name] = unreadable_reason(item.file, content)
                continue
            survey.counts[item.identity] += 1
            rows_of.setdefault(content.digest, []).append(row)
            if content.size != image_size:
                survey.other_sizes[content.size] += 1
        done += len(contents)
        if progress is not None:
            progress(done, len(items))
    for rows in rows_of.values():
        same = [items[row] for row in rows]
        if len({item.identity for item in same}) > 1:
            survey.shared.append([_full_name(item) for item in same])
        elif len(same) > 1:
            survey.duplicates.append([item.name for item in same])


def _full_name(item: _Item) -> str:
    """Return a name that has the identity of the image in it."""
    named = item.name.startswith(f"{item.identity}/")
    return item.name if named else f"{item.name} ({item.identity})"


def _refuse_unreadable(survey: Survey) -> None:
    """Raise ValueError for images whose decoding would stop training, which is lazy."""
    first = next(iter(survey.unreadable.items()), ("", ""))
    got = f"{len(survey.unreadable)} that cannot be, the first {first[0]!r} ({first[1]})"
    expect(not survey.unreadable, "images", "images that can be read", got)


def _gaps(identities: Sequence[str]) -> list[str]:
    """Return the ranges of labels below the highest that no identity has, if all are labels."""
    if not all(is_count(identity) and str(int(identity)) == identity for identity in identities):
        return []
    labels = np.array(sorted({-1, *map(int, identities)}))
    steps = zip((labels[:-1] + 1).tolist(), (labels[1:] - 1).tolist(), strict=True)
    return [f"{low}" if low == high else f"{low}..{high}" for low, high in steps if low <= high]
