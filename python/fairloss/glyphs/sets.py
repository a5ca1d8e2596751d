"""The shards of a drawing, dealt to training, validation and test sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fairloss.data.arrays import IMAGES, LABELS, VARIANTS, write_arrays
from fairloss.glyphs.options import GlyphOptions
from fairloss.glyphs.packages import Progress
from fairloss.glyphs.selection import Roles, kept_images
from fairloss.glyphs.shards import LOSSES, Shard
from fairloss.io.digest import sha256

QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)


class Samples:
    """Which character and face each image of the shards shows; the images stay on disk.

    Args:
        shards: files, in order.
        held_out: (F,) bool for each face.
    """

    def __init__(self, shards: Sequence[Path], held_out: npt.NDArray[np.bool_]) -> None:
        self.shards = shards
        characters, faces, losses = zip(*map(_without_images, shards), strict=True)
        self.sizes = [len(of_shard) for of_shard in faces]
        self.characters = np.concatenate(characters)
        self.faces = np.concatenate(faces)
        self.losses = np.sum(losses, axis=0)
        self.held_out = held_out[self.faces]

    def of(self, characters: Sequence[int], held_out: bool | None) -> npt.NDArray[np.int64]:
        """Rows of the characters by typefaces that are held out, that are not, or (None) both."""
        chosen = np.isin(self.characters, characters)
        if held_out is not None:
            chosen &= self.held_out == held_out
        return np.flatnonzero(chosen)

    def images(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
        """The images of ascending rows, (n, 1, size, size) of a shard at a time."""
        start = 0
        for path, size in zip(self.shards, self.sizes, strict=True):
            inside = rows[(rows >= start) & (rows < start + size)] - start
            if len(inside):
                yield Shard.load(path).images[inside][:, None]
            start += size


def _without_images(path: Path) -> tuple[npt.NDArray[np.int64], ...]:
    """Characters, faces and losses of a shard; its images, by far the most of it, are not read."""
    with np.load(path) as arrays:
        return arrays["characters"], arrays["faces"], arrays["losses"]


def write_sets(
    folder: Path,
    samples: Samples,
    roles: Roles,
    typefaces: Sequence[str],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the sets that have images, one folder each; returns what the manifest says of them."""
    split = bool(roles.options.held_out_typefaces)
    train = samples.of(roles.train, False)
    rows = {
        "train": _cut(train, samples.characters[train], roles.options),
        "validation": samples.of(roles.validation, False),
        "test": samples.of(roles.test, True if split else None),
        "closed": samples.of(roles.train, True) if split else train[:0],
    }
    rows = {name: chosen for name, chosen in rows.items() if len(chosen)}
    record: dict[str, Any] = {}
    for number, (name, chosen) in enumerate(rows.items()):
        characters, labels = np.unique(samples.characters[chosen], return_inverse=True)
        write_arrays(
            folder / name,
            samples.images(chosen),
            labels,
            samples.faces[chosen],
            [f"U+{character:04X}" for character in characters],
            typefaces,
            mirror=False,
        )
        record[name] = _described(folder / name, labels)
        if progress is not None:
            progress("write sets", number + 1, len(rows))
    losses = dict(zip(LOSSES, samples.losses.tolist(), strict=True))
    return {"images_left_out": losses, "sets": record}


def _cut(
    rows: npt.NDArray[np.int64], characters: npt.NDArray[np.int64], options: GlyphOptions
) -> npt.NDArray[np.int64]:
    """The rows that the shape of the training set leaves."""
    counts = np.unique(characters, return_counts=True)[1]
    by_class = rows[np.argsort(characters, kind="stable")]
    starts = np.cumsum(counts) - counts
    kept = kept_images(torch.from_numpy(counts), options)
    chosen = [by_class[start + keep.numpy()] for start, keep in zip(starts, kept, strict=True)]
    return np.sort(np.concatenate(chosen))


def _described(folder: Path, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    counts = np.bincount(labels)
    return {
        "images": len(labels),
        "characters": len(counts),
        "images_of_a_character": {
            f"{quantile:g}": float(np.quantile(counts, quantile)) for quantile in QUANTILES
        },
        "sha256": {name: sha256(folder / name) for name in (IMAGES, LABELS, VARIANTS)},
    }
