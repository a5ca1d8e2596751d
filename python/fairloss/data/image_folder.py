"""Reading a folder of identities, each a folder of images."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from fairloss.checks import expect
from fairloss.data.decode import decode_batches, decode_image, warn_left_out
from fairloss.data.face_images import MEMORY_LIMIT, FaceImages, allocate_pixels
from fairloss.data.suffixes import image_suffixes
from fairloss.data.text_files import StrPath
from fairloss.io.atomic import FormatError

LAYOUT = "folder/identity/image, one folder per identity, of images that Pillow can read"
# Text beside images, and what file managers write: no image is lost with them.
IGNORED = frozenset((".csv", ".db", ".html", ".ini", ".json", ".log", ".md", ".tsv", ".txt"))
IGNORED |= frozenset((".xml", ".yaml", ".yml"))


class Listing(NamedTuple):
    """The files of a folder of identities.

    Attributes:
        images: files of each identity (maybe none), both in natural order; also links whose
            target is missing.
        dead_identities: names of links in place of identities whose target is missing.
        nested: folders inside identities, with their number of images.
        other_files: number of the files in identities of each suffix that is not an image's.
    """

    images: dict[str, list[Path]]
    dead_identities: list[str]
    nested: dict[str, int]
    other_files: Counter[str]

    @property
    def files(self) -> list[Path]:
        """The images of all identities."""
        return [file for files in self.images.values() for file in files]

    def left_out(self) -> Iterator[tuple[str, list[str], int]]:
        """Yield a description, names and a count of each kind that is not read."""
        dead = self.dead_identities
        yield "identities that are dead links", dead, len(dead)
        nested = [f"{name} ({count} images)" for name, count in self.nested.items()]
        yield "folders inside identities", nested, len(nested)
        kinds = [f"{count} {suffix}" for suffix, count in self.other_files.most_common()]
        yield "files without an image suffix", kinds, self.other_files.total()


def read_folder(
    folder: StrPath,
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
    progress: Callable[[int, int], object] | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> FaceImages:
    """Read `folder/identity/image.*` into memory.

    Identities and images come in natural order (s2 before s10). Names that start with a dot are
    ignored, and so are text files.

    Args:
        folder: holds one folder per identity, of files with any suffix that Pillow registers.
        image_size: (height, width); every image is cropped at the center to this aspect ratio and
            resized, after its EXIF orientation is applied.
        channels: 1 for gray, 3 for RGB.
        progress: called as progress(done, total) while images are decoded.
        memory_limit: most bytes the decoded pixels may take.

    Warns:
        UnreadableImage: once each for all files that cannot be decoded and links to missing
            files, which are skipped; for all identities that have no readable image or are links
            to missing folders; for folders with images inside an identity; and for files of other
            suffixes, with the number of each.

    Raises:
        ValueError: if the folder is missing, has no identity with a readable image or has images
            directly in it, or if the pixels would take more than `memory_limit`.
        ImportError: if Pillow is missing.
    """
    root = Path(folder)
    listing = list_folder(root)
    for what, names, count in listing.left_out():
        warn_left_out(f"{what} left out", names, count)
    files = listing.files
    pixels = allocate_pixels(len(files), channels, image_size, memory_limit)

    read: list[Path] = []
    failed: list[str] = []
    for file, image in decode_files(files, image_size, channels, progress):
        if isinstance(image, str):
            failed.append(f"{image_name(file)} ({image})")
        else:
            pixels[len(read)] = image
            read.append(file)

    warn_left_out("unreadable images skipped", failed)
    present = {file.parent.name for file in read}
    identities = [identity for identity in listing.images if identity in present]
    check_readable(root, listing, len(read))
    empty = [identity for identity in listing.images if identity not in present]
    warn_left_out("identities without a readable image left out", empty)
    position = {identity: label for label, identity in enumerate(identities)}
    labels = [position[file.parent.name] for file in read]
    return FaceImages(pixels[: len(read)], labels, identities, map(image_name, read))


def list_images(folder: StrPath) -> list[str]:
    """Return `identity/image` names, ordered as in `read_folder`.

    Links to missing files are among them: it is for the reader to refuse them.

    Warns:
        UnreadableImage: as `read_folder`, but for files that cannot be decoded.

    Raises:
        FormatError: an identity is a link to a missing folder.
        ValueError: there is no image.
    """
    listing = list_folder(Path(folder))
    for dead in listing.dead_identities:
        raise FormatError(Path(folder) / dead, "cannot be read: a link to a missing folder")
    names = [image_name(file) for file in listing.files]
    for what, left_out, count in listing.left_out():
        warn_left_out(f"{what} left out", left_out, count)
    _check_layout(names, Path(folder), f"{len(listing.images)} empty folders")
    empty = [identity for identity, files in listing.images.items() if not files]
    warn_left_out("identities without an image left out", empty)
    return names


def list_folder(root: Path) -> Listing:
    """Return the files of a folder of identities; ValueError if it has none."""
    _check_layout(root.is_dir(), root, "no folder")
    entries = _visible(root)
    # a link whose target is missing was an image where it has the suffix of one
    suffixes = image_suffixes()
    loose = [path for path in entries if path.suffix.lower() in suffixes and not path.is_dir()]
    directly = f"{len(loose)} images directly in it, the first {loose[0].name!r}" if loose else ""
    _check_layout(not loose, root, directly)
    dead = [path.name for path in entries if is_dead_link(path)]
    listing = Listing({}, dead, {}, Counter())
    for path in entries:
        if path.is_dir():
            listing.images[path.name] = _list_identity(path, listing)
    links = f", but links to missing folders such as {dead[0]!r}" if dead else ""
    _check_layout(listing.images, root, f"no folder in it{links}")
    return listing


def decode_files(
    files: Sequence[Path],
    image_size: tuple[int, int],
    channels: int,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[tuple[Path, Tensor | str]]:
    """Yield each file with its uint8 (channels, H, W) pixels, or why it cannot be read."""
    readers = [partial(decode_image, file, image_size, channels) for file in files]
    done = 0
    for images in decode_batches(readers):
        for file, image in zip(files[done : done + len(images)], images, strict=True):
            yield file, unreadable_reason(file, image) if isinstance(image, Exception) else image
        done += len(images)
        if progress is not None:
            progress(done, len(files))


def check_readable(root: Path, listing: Listing, readable: int) -> None:
    """Raise ValueError if no image of a folder is readable."""
    counts = f"{len(listing.images)} folders with {len(listing.files)} images"
    _check_layout(readable, root, f"{counts}, none of them readable")


def image_name(file: Path) -> str:
    """Return `identity/image`."""
    return f"{file.parent.name}/{file.name}"


def is_dead_link(path: Path) -> bool:
    """Return True for a link whose target is missing, or that leads to itself."""
    return path.is_symlink() and not path.exists()


def unreadable_reason(file: Path | None, error: Exception) -> str:
    """Return why an image, of a file or not, cannot be read."""
    if file is not None and is_dead_link(file):
        return f"link to {os.readlink(file)}, which is missing"
    return str(error)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that orders runs of digits by value: s2 before s10."""
    # split() with a group alternates text and digits, so equal positions always compare alike
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], name


def _list_identity(folder: Path, listing: Listing) -> list[Path]:
    """Return the images of an identity, and add what else it holds to the listing."""
    images = []
    suffixes = image_suffixes()
    for path in _visible(folder):
        suffix = path.suffix.lower()
        if suffix in suffixes and (path.is_file() or is_dead_link(path)):
            images.append(path)
        elif path.is_dir():
            nested = sum(inner.suffix.lower() in suffixes for inner in path.rglob("*"))
            if nested:
                listing.nested[image_name(path)] = nested
        elif suffix not in IGNORED:
            kind = suffix or "without a suffix"
            listing.other_files[f"{kind} (dead links)" if is_dead_link(path) else kind] += 1
    return images


def _visible(folder: Path) -> list[Path]:
    """Return what a folder holds in natural order, without names that start with a dot."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(paths, key=lambda path: natural_key(path.name))


def _check_layout(valid: object, root: Path, got: str) -> None:
    expect(valid, f"folder {str(root)!r}", LAYOUT, got)
