"""A folder of images as arrays, read through a memory map: as many as the disk holds.

images.npy    (N, channels, H, W) uint8
labels.npy    (N,) int32, position in `identities`
variants.npy  (N,) int32, position in `variants`: what tells the images of an identity apart
index.json    version, identities, variants, mirror (of `FaceImages`)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fairloss.data.faces import FaceImages
from fairloss.data.folder import list_images, read_folder
from fairloss.io.atomic import write_atomic

VERSION = 1
IMAGES, LABELS, VARIANTS, INDEX = "images.npy", "labels.npy", "variants.npy", "index.json"

Pixels = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


def read_images(
    folder: str | os.PathLike[str],
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
    progress: Callable[[int, int], object] | None = None,
) -> FaceImages:
    """A folder of arrays (`read_arrays`) or of identity/image files (`read_folder`).

    Raises:
        ValueError: as the two, and for a folder that holds several folders of arrays.
    """
    if holds_arrays(folder):
        return read_arrays(folder, image_size, channels)
    _refuse_several(Path(folder))
    return read_folder(folder, image_size, channels, progress)


def list_identified(folder: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Names of the images in a folder of arrays or of files, and the identity of each.

    They come in the order of `read_images`, which leaves out what cannot be read.

    Raises:
        ValueError: as `read_images`.
    """
    root = Path(folder)
    if holds_arrays(root):
        index = _read_index(root)
        labels, names = _read_names(root, index)
        return names, [index["identities"][label] for label in labels]
    _refuse_several(root)
    names = list_images(root)
    return names, [str(PurePosixPath(name).parent) for name in names]


def holds_arrays(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is one of arrays."""
    return (Path(folder) / INDEX).is_file()


def may_mirror(folder: str | os.PathLike[str]) -> bool:
    """`FaceImages.mirror` of the images in a folder of arrays or of files."""
    return not holds_arrays(folder) or bool(_read_index(Path(folder))["mirror"])


def read_arrays(
    folder: str | os.PathLike[str], image_size: tuple[int, int], channels: int
) -> FaceImages:
    """The images, left on disk until they are asked for; image names are "identity/variant".

    Raises:
        ValueError: the images have another size or number of channels, or another version.
        FileNotFoundError: a file is missing.
    """
    root = Path(folder)
    index = _read_index(root)
    # copy on write: torch has no read-only tensors, and nothing may reach the file
    pixels = np.load(root / IMAGES, mmap_mode="c")
    if pixels.shape[1:] != (channels, *image_size):
        has, height, width = pixels.shape[1:]
        raise ValueError(
            f"folder {str(root)!r} holds images of image_size=[{height},{width}], channels={has}; "
            f"got image_size={list(image_size)}, channels={channels}"
        )
    labels, names = _read_names(root, index)
    who = index["identities"]
    return FaceImages(torch.from_numpy(pixels), labels, who, names, mirror=index["mirror"])


def write_arrays(
    folder: Path,
    parts: Iterable[Pixels],
    labels: Integers,
    variants: Integers,
    identities: Sequence[str],
    variant_names: Sequence[str],
    mirror: bool,
) -> None:
    """Write a folder that `read_arrays` reads.

    `parts` are (n, channels, H, W) images, N in all, taken one after the other; at least one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / IMAGES, lambda path: _write_pixels(path, parts, len(labels)))
    for name, values in ((LABELS, labels), (VARIANTS, variants)):
        _write_integers(folder / name, values)
    index = {
        "version": VERSION,
        "identities": list(identities),
        "variants": list(variant_names),
        "mirror": mirror,
    }
    write_atomic(folder / INDEX, lambda path: path.write_text(json.dumps(index, indent=1) + "\n"))


def _refuse_several(root: Path) -> None:
    parts = sorted(path.parent.name for path in root.glob(f"*/{INDEX}"))
    if parts:
        raise ValueError(f"folder {str(root)!r} holds several sets; name one: {', '.join(parts)}")


def _read_index(root: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((root / INDEX).read_text())
    if index.get("version") != VERSION:
        raise ValueError(f"{root / INDEX}: version {index.get('version')}, expected {VERSION}")
    return index


def _read_names(root: Path, index: dict[str, Any]) -> tuple[Integers, list[str]]:
    labels, variants = np.load(root / LABELS), np.load(root / VARIANTS)
    who, how = index["identities"], index["variants"]
    return labels, [f"{who[c]}/{how[v]}" for c, v in zip(labels, variants, strict=True)]


def _write_pixels(path: Path, parts: Iterable[Pixels], count: int) -> None:
    whole: np.memmap[tuple[int, ...], np.dtype[np.uint8]] | None = None
    filled = 0
    for part in parts:
        if whole is None:
            whole = np.lib.format.open_memmap(
                path, mode="w+", dtype=np.uint8, shape=(count, *part.shape[1:])
            )
        whole[filled : filled + len(part)] = part
        filled += len(part)
    if whole is None or filled != count:
        raise ValueError(f"parts: got {filled} images, expected {count}, one for each label")
    whole.flush()


def _write_integers(path: Path, values: Integers) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values.astype(np.int32))

    write_atomic(path, write)
