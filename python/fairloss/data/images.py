"""Images of a folder of arrays or of files: as one data set, or in batches."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from fairloss.checks import expect
from fairloss.data.align import open_aligned
from fairloss.data.arrays import INDEX, holds_arrays, read_arrays, read_index, read_names
from fairloss.data.decode import BATCH, as_pixels, decode_batches, decode_image
from fairloss.data.face_images import MEMORY_LIMIT, FaceImages, pixel_bytes
from fairloss.data.image_folder import list_folder, list_images, read_folder
from fairloss.data.labeled_images import LabeledImages
from fairloss.data.listed_images import FolderImages, ListedImages
from fairloss.data.record_images import RecordImages
from fairloss.data.records import TRAIN_REC
from fairloss.data.suffixes import find_names, match_names
from fairloss.data.text_files import StrPath, check_format
from fairloss.io.atomic import FormatError
from fairloss.typing import Floats


def read_images(
    folder: StrPath,
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
    progress: Callable[[int, int], object] | None = None,
) -> FaceImages:
    """Read a folder of arrays (`read_arrays`) or of identity/image files (`read_folder`).

    Raises:
        ValueError: as the two, and for a folder that holds several folders of arrays.
    """
    if holds_arrays(folder):
        return read_arrays(folder, image_size, channels)
    check_one_set(Path(folder))
    return read_folder(folder, image_size, channels, progress)


def open_images(
    path: StrPath,
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
    memory_limit: int = MEMORY_LIMIT,
    progress: Callable[[int, int], object] | None = None,
) -> LabeledImages:
    """Open a folder of files or of arrays, a RecordIO file, or a list file.

    A folder of files is read into memory if its pixels fit; if not, its images are decoded when
    they are asked for, and so are those of records and lists.

    Args:
        path: of the folder, of a `.rec` (`RecordImages`) or a folder with a `train.rec` in it, or
            of a text file (`ListedImages`).
        image_size: (H, W).
        channels: 1 for gray, 3 for RGB.
        memory_limit: most bytes the decoded pixels of a folder of files may take in memory.
        progress: called as progress(done, total) while a folder is read into memory.

    Raises:
        ValueError: as the readers.
    """
    path = Path(path)
    records = record_file(path)
    if records is not None:
        return RecordImages(records, image_size, channels)
    if path.is_file():
        return ListedImages(path, None, image_size, channels)
    if holds_arrays(path):
        return read_arrays(path, image_size, channels)
    check_one_set(path)
    listing = list_folder(path)
    if pixel_bytes(len(listing.files), channels, image_size) > memory_limit:
        return FolderImages(path, image_size, channels, listing)
    return read_folder(path, image_size, channels, progress, memory_limit)


def record_file(path: Path) -> Path | None:
    """Return the RecordIO file that a path names, or that is in a folder; None if it is neither."""
    inside = path / TRAIN_REC
    if inside.is_file():
        return inside
    return path if path.suffix == ".rec" and not path.is_dir() else None


def list_identified(folder: StrPath) -> tuple[list[str], list[str]]:
    """Return the names of the images in a folder of arrays or of files, and their identities.

    They come in the order of `read_images`, which leaves out what cannot be read.

    Raises:
        ValueError: as `read_images`.
    """
    if holds_arrays(folder):
        index = read_index(folder)
        labels, names = read_names(folder, index)
        return names, [index["identities"][label] for label in labels]
    check_one_set(Path(folder))
    names = list_images(folder)
    return names, [str(PurePosixPath(name).parent) for name in names]


def may_mirror(folder: StrPath) -> bool:
    """Return `FaceImages.mirror` of the images in a folder of arrays or of files."""
    return not holds_arrays(folder) or bool(read_index(folder)["mirror"])


def image_batches(
    root: StrPath,
    names: Sequence[str],
    image_size: tuple[int, int],
    channels: int,
    batch_size: int = BATCH,
    points: Floats | None = None,
) -> Iterator[Tensor]:
    """Yield uint8 (B, channels, H, W) batches of `root/name`, in order.

    `root` may be a folder of arrays too, which are read through a memory map. An image that is
    not there by its name may have another suffix (`match_names`). A missing or unreadable image is
    an error: leaving one out would shift all rows after it.

    Args:
        root: the folder.
        names: of the images.
        image_size: (H, W).
        channels: 1 for gray, 3 for RGB.
        batch_size: B, of all batches but the last.
        points: (N, 5, 2) landmarks to align each image by (`align_face`), before it is resized;
            of files only.

    Raises:
        FormatError: naming the image.
        ValueError: as `read_arrays`.
    """
    if holds_arrays(root):
        expect(points is None, "landmarks", "a folder of image files to align", f"arrays in {root}")
        yield from _array_batches(root, names, image_size, channels, batch_size)
        return

    def read(file: Path, landmarks: Floats | None) -> Tensor:
        if landmarks is not None:
            return as_pixels(open_aligned(file, landmarks), image_size, channels)
        try:
            return decode_image(file, image_size, channels)
        except Exception as error:
            raise FormatError(file, f"cannot be read as an image: {error}") from error

    landmarks = [None] * len(names) if points is None else points
    pairs = zip(image_files(root, names), landmarks, strict=True)
    readers = [partial(read, file, point) for file, point in pairs]
    yield from _strict_batches(readers, batch_size)


def image_files(root: StrPath, names: Sequence[str]) -> list[Path]:
    """Return the file of each image in a folder of files, by its name or with another suffix.

    Raises:
        FormatError: an image is not there, or two files differ from it in the suffix alone.
    """
    files = [Path(root) / name for name in names]
    absent = [number for number, file in enumerate(files) if not file.is_file()]
    asked = [names[number] for number in absent]
    beside = _names_beside(root, asked)
    for number, row in zip(absent, match_names(asked, beside, root), strict=True):
        files[number] = Path(root) / beside[row]
    return files


def find_images(root: StrPath, names: Sequence[str]) -> list[str]:
    """Return those of the names whose images are in a folder of arrays or of files."""
    beside = list_identified(root)[0] if holds_arrays(root) else _names_beside(root, names)
    rows = find_names(names, beside, root)
    return [name for name, row in zip(names, rows, strict=True) if row is not None]


def encoded_batches(
    path: StrPath,
    images: Sequence[bytes],
    image_size: tuple[int, int],
    channels: int,
    batch_size: int = BATCH,
    rows: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """Yield batches as `image_batches` of encoded images from the file at `path` (for errors).

    Where `rows` are given, they are those of the images at these positions.
    """

    def read(number: int, image: bytes) -> Tensor:
        try:
            return decode_image(BytesIO(image), image_size, channels)
        except Exception as error:
            raise FormatError(path, f"image {number} cannot be read: {error}") from error

    positions = range(len(images)) if rows is None else rows
    yield from _strict_batches([partial(read, row, images[row]) for row in positions], batch_size)


def check_one_set(root: Path) -> None:
    """Raise ValueError for a folder that holds several folders of arrays."""
    sets = sorted(path.parent.name for path in root.glob(f"*/{INDEX}"))
    listed = f"several sets: {', '.join(sets)}; name one"
    expect(not sets, f"folder {str(root)!r}", "one set of images", listed)


def _names_beside(root: StrPath, names: Sequence[str]) -> list[str]:
    """Return the names of all files in the folders that the named images would be in."""
    beside = []
    for folder in sorted({PurePosixPath(name.replace("\\", "/")).parent for name in names}):
        with suppress(OSError, ValueError), os.scandir(Path(root) / folder) as entries:
            beside += [str(folder / entry.name) for entry in entries if not os.path.isdir(entry)]
    return beside


def _array_batches(
    root: StrPath, names: Sequence[str], image_size: tuple[int, int], channels: int, batch_size: int
) -> Iterator[Tensor]:
    faces = read_arrays(root, image_size, channels)
    different = len(set(faces.names)) == len(faces)
    check_format(different, root, "two images have one name, identity/variant")
    rows = match_names(names, faces.names, root)
    for start in range(0, len(rows), batch_size):
        yield faces.images(rows[start : start + batch_size])


def _strict_batches(readers: Sequence[Callable[[], Tensor]], batch_size: int) -> Iterator[Tensor]:
    """Yield stacked batches; raise the first error."""
    for images in decode_batches(readers, batch_size):
        pixels = []
        for image in images:
            if isinstance(image, Exception):
                raise image
            pixels.append(image)
        yield torch.stack(pixels)
