"""Reading a folder of identities, each a folder of images."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from torch import Tensor

from fairloss.data.decode import decode_image, pillow, warn_left_out
from fairloss.data.faces import MEMORY_LIMIT, FaceImages, allocate_pixels

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".pgm", ".bmp", ".webp"})
LAYOUT = (
    "expected folder/identity/image, one folder per identity, with images ending in "
    + ", ".join(sorted(SUFFIXES))
)
# Files handed to the threads at a time: enough to keep them busy, few enough that decoded images
# waiting to be copied stay small (256 images of 3x112x112 are 10 MB).
CHUNK = 256
# Pillow releases the interpreter lock while it decodes; more threads than this wait for one another
MAX_THREADS = 8


def read_folder(
    folder: str | os.PathLike[str],
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
        image_size: (height, width); every image is cropped at the centre to this aspect ratio and
            resized, after its EXIF orientation is applied.
        channels: 1 for grey, 3 for RGB.
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
    pillow()
    root = Path(folder)
    files_of = _list_images(root)
    files = [file for listed in files_of.values() for file in listed]
    pixels = allocate_pixels(len(files), channels, image_size, memory_limit)

    read: list[Path] = []
    failed: list[str] = []
    decode = partial(_decode, image_size=image_size, channels=channels)
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), CHUNK):
            chunk = files[start : start + CHUNK]
            for file, image in zip(chunk, pool.map(decode, chunk), strict=True):
                if isinstance(image, Exception):
                    failed.append(f"{_name(file)} ({image})")
                else:
                    pixels[len(read)] = image
                    read.append(file)
            if progress is not None:
                progress(start + len(chunk), len(files))

    warn_left_out("unreadable images skipped", failed)
    present = {file.parent.name for file in read}
    identities = [identity for identity in files_of if identity in present]
    if not identities:
        raise ValueError(
            f"folder {str(root)!r}: {LAYOUT}; found {len(files_of)} folders with "
            f"{len(files)} images, none of them readable"
        )
    warn_left_out(
        "identities without a readable image left out", [i for i in files_of if i not in present]
    )
    position = {identity: label for label, identity in enumerate(identities)}
    labels = [position[file.parent.name] for file in read]
    return FaceImages(pixels[: len(read)], labels, identities, map(_name, read))


def list_images(folder: str | os.PathLike[str]) -> list[str]:
    """`identity/image` names of a folder, ordered as in `read_folder`; ValueError if none."""
    listed = _list_images(Path(folder))
    names = [_name(file) for files in listed.values() for file in files]
    if not names:
        raise ValueError(f"folder {str(folder)!r}: {LAYOUT}; found {len(listed)} empty folders")
    return names


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that orders runs of digits by value: s2 before s10."""
    # split() with a group alternates text and digits, so equal positions always compare alike
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _list_images(root: Path) -> dict[str, list[Path]]:
    """Identity name -> its image files (maybe none), both in natural order."""
    if not root.is_dir():
        raise ValueError(f"folder {str(root)!r} is not a folder; {LAYOUT}")
    loose = _images_in(root)
    if loose:
        raise ValueError(
            f"folder {str(root)!r}: {LAYOUT}; "
            f"found {len(loose)} images directly in it, the first {loose[0].name!r}"
        )
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        raise ValueError(f"folder {str(root)!r}: {LAYOUT}; found no folder in it")
    folders.sort(key=lambda path: natural_key(path.name))
    return {path.name: _images_in(path) for path in folders}


def _images_in(folder: Path) -> list[Path]:
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(files, key=lambda path: natural_key(path.name))


def _decode(file: Path, image_size: tuple[int, int], channels: int) -> Tensor | Exception:
    # Malformed files raise OSError, ValueError, SyntaxError, struct.error and more, depending on
    # the format; the reason is handed back and shown, so nothing is hidden.
    try:
        return decode_image(file, image_size, channels)
    except Exception as error:
        return error


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
