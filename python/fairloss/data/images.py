"""Images of a folder of arrays or of files: as one data set, or in batches."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from fairloss.checks import expect
from fairloss.data.align import open_aligned
from fairloss.data.arrays import INDEX, holds_arrays, read_arrays, read_index, read_names
from fairloss.data.decode import BATCH, as_pixels, decode_batches, decode_image
from fairloss.data.face_images import FaceImages
from fairloss.data.image_folder import list_images, read_folder
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

    `root` may be a folder of arrays too, which are read through a memory map. A missing or
    unreadable image is an error: leaving one out would shift all rows after it.

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
    pairs = zip(names, landmarks, strict=True)
    readers = [partial(read, Path(root) / name, point) for name, point in pairs]
    yield from _strict_batches(readers, batch_size)


def encoded_batches(
    path: StrPath,
    images: Sequence[bytes],
    image_size: tuple[int, int],
    channels: int,
    batch_size: int = BATCH,
) -> Iterator[Tensor]:
    """Yield batches as `image_batches` of encoded images from the file at `path` (for errors)."""

    def read(number: int, image: bytes) -> Tensor:
        try:
            return decode_image(BytesIO(image), image_size, channels)
        except Exception as error:
            raise FormatError(path, f"image {number} cannot be read: {error}") from error

    yield from _strict_batches([partial(read, *item) for item in enumerate(images)], batch_size)


def check_one_set(root: Path) -> None:
    """Raise ValueError for a folder that holds several folders of arrays."""
    sets = sorted(path.parent.name for path in root.glob(f"*/{INDEX}"))
    listed = f"several sets: {', '.join(sets)}; name one"
    expect(not sets, f"folder {str(root)!r}", "one set of images", listed)


def _array_batches(
    root: StrPath, names: Sequence[str], image_size: tuple[int, int], channels: int, batch_size: int
) -> Iterator[Tensor]:
    faces = read_arrays(root, image_size, channels)
    row_of = {name: row for row, name in enumerate(faces.names)}
    unknown = [name for name in names if name not in row_of]
    if unknown:
        raise FormatError(root, f"holds no image {unknown[0]!r}; one is {faces.names[0]!r}")
    check_format(len(row_of) == len(faces), root, "two images have one name, identity/variant")
    for start in range(0, len(names), batch_size):
        yield faces.images([row_of[name] for name in names[start : start + batch_size]])


def _strict_batches(readers: Sequence[Callable[[], Tensor]], batch_size: int) -> Iterator[Tensor]:
    """Yield stacked batches; raise the first error."""
    for images in decode_batches(readers, batch_size):
        pixels = []
        for image in images:
            if isinstance(image, Exception):
                raise image
            pixels.append(image)
        yield torch.stack(pixels)
