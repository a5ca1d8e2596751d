"""Reading a folder of identities, each a folder of images."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fairloss.checks import expect
from fairloss.data.decode import decode_batches, decode_image, warn_left_out
from fairloss.data.face_images import MEMORY_LIMIT, FaceImages, allocate_pixels
from fairloss.data.text_files import StrPath

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".pgm", ".bmp", ".webp"})
LAYOUT = "folder/identity/image, one folder per identity, with images ending in " + ", ".join(
    sorted(SUFFIXES)
)


def read_folder(
    folder: StrPath,
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
    progress: Callable[[int, int], object] | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> FaceImages:
    """Read `folder/identity/image.*` into memory.

    Identities and images come in natural order (s2 before s10). Names that start with a dot are
    ignored, and so are files of other types and folders inside an identity.

    Args:
        folder: holds one folder per identity; jpg, jpeg, png, pgm, bmp and webp files in any case.
        image_size: (height, width); every image is cropped at the center to this aspect ratio and
            resized, after its EXIF orientation is applied.
        channels: 1 for gray, 3 for RGB.
        progress: called as progress(done, total) while images are decoded.
        memory_limit: most bytes the decoded pixels may take.

    Warns:
        UnreadableImage: once for all files that cannot be decoded, which are skipped, and once for
            all identities that have no readable image, which are left out.

    Raises:
        ValueError: if the folder is missing, has no identity with a readable image or has images
            directly in it, or if the pixels would take more than `memory_limit`.
        ImportError: if Pillow is missing.
    """
    root = Path(folder)
    files_of = _files_by_identity(root)
    files = [file for listed in files_of.values() for file in listed]
    pixels = allocate_pixels(len(files), channels, image_size, memory_limit)

    read: list[Path] = []
    failed: list[str] = []
    done = 0
    readers = [partial(decode_image, file, image_size, channels) for file in files]
    for images in decode_batches(readers):
        for file, image in zip(files[done : done + len(images)], images, strict=True):
            if isinstance(image, Exception):
                failed.append(f"{_name(file)} ({image})")
            else:
                pixels[len(read)] = image
                read.append(file)
        done += len(images)
        if progress is not None:
            progress(done, len(files))

    warn_left_out("unreadable images skipped", failed)
    present = {file.parent.name for file in read}
    identities = [identity for identity in files_of if identity in present]
    counts = f"{len(files_of)} folders with {len(files)} images, none of them readable"
    _check_layout(identities, root, counts)
    warn_left_out(
        "identities without a readable image left out", [i for i in files_of if i not in present]
    )
    position = {identity: label for label, identity in enumerate(identities)}
    labels = [position[file.parent.name] for file in read]
    return FaceImages(pixels[: len(read)], labels, identities, map(_name, read))


def list_images(folder: StrPath) -> list[str]:
    """Return `identity/image` names, ordered as in `read_folder`; ValueError if there are none."""
    listed = _files_by_identity(Path(folder))
    names = [_name(file) for files in listed.values() for file in files]
    _check_layout(names, Path(folder), f"{len(listed)} empty folders")
    return names


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that orders runs of digits by value: s2 before s10."""
    # split() with a group alternates text and digits, so equal positions always compare alike
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], name


def _files_by_identity(root: Path) -> dict[str, list[Path]]:
    """Return the image files (maybe none) of each identity, both in natural order."""
    _check_layout(root.is_dir(), root, "no folder")
    loose = _images_in(root)
    directly = f"{len(loose)} images directly in it, the first {loose[0].name!r}" if loose else ""
    _check_layout(not loose, root, directly)
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    _check_layout(folders, root, "no folder in it")
    folders.sort(key=lambda path: natural_key(path.name))
    return {path.name: _images_in(path) for path in folders}


def _images_in(folder: Path) -> list[Path]:
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(files, key=lambda path: natural_key(path.name))


def _check_layout(valid: object, root: Path, got: str) -> None:
    expect(valid, f"folder {str(root)!r}", LAYOUT, got)


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
