"""A folder of images as arrays, read through a memory map: as many as the disk holds.

images.npy    (N, channels, H, W) uint8
labels.npy    (N,) int32, position in `identities`
variants.npy  (N,) int32, position in `variants`, which names the image within its identity
index.json    version, identities, variants, mirror (of `FaceImages`)
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.checks import expect
from fairloss.data.face_images import FaceImages
from fairloss.data.npy import is_flat, map_npy, write_npy, write_npy_parts
from fairloss.data.text_files import StrPath, check_format
from fairloss.io.json import read_json, write_json
from fairloss.io.mapped import MappedArray
from fairloss.typing import Bytes, Ints

IMAGES, LABELS, VARIANTS, INDEX = "images.npy", "labels.npy", "variants.npy", "index.json"


def holds_arrays(folder: StrPath) -> bool:
    """Return True if a folder is one of arrays."""
    return (Path(folder) / INDEX).is_file()


def read_index(folder: StrPath) -> dict[str, Any]:
    """Return index.json of a folder of arrays; FormatError for another version."""
    return read_json(Path(folder) / INDEX, identities=list, variants=list, mirror=bool)


def read_names(folder: StrPath, index: dict[str, Any]) -> tuple[Ints, list[str]]:
    """Return the labels of the images and their names "identity/variant"."""
    identities, names = index["identities"], index["variants"]
    labels = _positions(Path(folder) / LABELS, len(identities))
    variants = _positions(Path(folder) / VARIANTS, len(names))
    same = len(labels) == len(variants)
    check_format(same, folder, f"{len(labels)} labels, but {len(variants)} variants")
    pairs = zip(labels, variants, strict=True)
    return labels, [f"{identities[label]}/{names[variant]}" for label, variant in pairs]


def _positions(path: Path, size: int) -> Ints:
    """Return (N,) integers 0..size-1 of any dtype, also from a column; FormatError otherwise."""
    array = np.asarray(map_npy(path))
    got = f"shape {array.shape} and type {array.dtype}"
    valid = is_flat(array) and array.dtype.kind in "iu"
    check_format(valid, path, f"expected (N,) integers, got {got}")
    low, high = array.min(), array.max()
    valid = low >= 0 and high < size
    check_format(valid, path, f"expected positions 0..{size - 1}, got {low}..{high}")
    return array.ravel().astype(np.int64)


def read_arrays(folder: StrPath, image_size: tuple[int, int], channels: int) -> FaceImages:
    """Return the images, left on disk until they are asked for; names are "identity/variant".

    Pixels that are written to in memory are not in a pickle or a deep copy, which map the file.

    Raises:
        ValueError: the images have another size or number of channels, or another version.
        FileNotFoundError: a file is missing.
    """
    index = read_index(folder)
    pixels = _map_pixels(folder)
    stored, height, width = pixels.shape[1:]
    expect(
        (stored, height, width) == (channels, *image_size),
        f"folder {os.fspath(folder)!r}",
        f"images of image_size={list(image_size)}, channels={channels}",
        f"image_size=[{height},{width}], channels={stored}",
    )
    return _with_names(pixels, folder, index)


def map_arrays(folder: StrPath) -> FaceImages:
    """Return `read_arrays` of a folder whose image size is not known."""
    index = read_index(folder)
    return _with_names(_map_pixels(folder), folder, index)


def _map_pixels(folder: StrPath) -> MappedArray:
    """Return the (N, channels, H, W) uint8 images of a folder; FormatError if they are others."""
    path = Path(folder) / IMAGES
    # copy on write: torch has no read-only tensors, and nothing may reach the file
    pixels = map_npy(path, "c")
    got = f"shape {pixels.shape} and type {pixels.dtype}"
    valid = pixels.ndim == 4 and pixels.dtype == np.uint8
    check_format(valid, path, f"expected (N, channels, H, W) uint8, got {got}")
    return pixels


def _with_names(pixels: MappedArray, folder: StrPath, index: dict[str, Any]) -> FaceImages:
    labels, names = read_names(folder, index)
    return FaceImages(pixels, labels, index["identities"], names, mirror=index["mirror"])


def write_arrays(
    folder: Path,
    parts: Iterable[Bytes],
    labels: Ints,
    variants: Ints,
    identities: Sequence[str],
    variant_names: Sequence[str],
    mirror: bool,
) -> None:
    """Write a folder that `read_arrays` reads.

    Args:
        folder: made if it does not exist.
        parts: (n, channels, H, W) images, N in all, taken one after the other; at least one part.
        labels: (N,) positions in `identities`.
        variants: (N,) positions in `variant_names`.
        identities: names of the identities.
        variant_names: names of the variants.
        mirror: as in `FaceImages`.
    """
    write_npy_parts(folder / IMAGES, parts, len(labels))
    write_index(folder, labels, variants, identities, variant_names, mirror)


def write_index(
    folder: Path,
    labels: Ints,
    variants: Ints,
    identities: Sequence[str],
    variant_names: Sequence[str],
    mirror: bool,
) -> None:
    """Write what `write_arrays` writes beside the images."""
    write_npy(folder / LABELS, labels.astype(np.int32))
    write_npy(folder / VARIANTS, variants.astype(np.int32))
    names = {"identities": list(identities), "variants": list(variant_names)}
    write_json(folder / INDEX, names | {"mirror": mirror})
