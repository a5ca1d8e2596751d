"""Writing training, validation and test sets from shards."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairloss.data.arrays import IMAGES, LABELS, VARIANTS, write_arrays
from fairloss.glyphs.options import GlyphOptions
from fairloss.glyphs.selection import CharacterSplit, kept_images
from fairloss.glyphs.shards import LOSSES, Shard
from fairloss.io.digest import sha256
from fairloss.io.npz import read_npz
from fairloss.progress import Progress, no_progress
from fairloss.typing import Bools, Bytes, Ints

QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)


class Samples:
    """The character and face of each image of the shards; the images stay on disk.

    Args:
        shards: files, in order.
        held_out: (F,) bool for each face.
    """

    def __init__(self, shards: Sequence[Path], held_out: Bools) -> None:
        self.shards = shards
        characters, faces, losses = zip(*map(_without_images, shards), strict=True)
        self.sizes = [len(part) for part in faces]
        self.characters = np.concatenate(characters)
        self.faces = np.concatenate(faces)
        self.losses = np.sum(losses, axis=0)
        self.held_out = held_out[self.faces]

    def select(self, characters: Sequence[int], held_out: bool | None) -> Ints:
        """Return rows of the characters by typefaces held out, by the others, or (None) by both."""
        mask = np.isin(self.characters, characters)
        if held_out is not None:
            mask &= self.held_out == held_out
        return np.flatnonzero(mask)

    def images(self, rows: Ints) -> Iterator[Bytes]:
        """Yield the images of ascending rows, (n, 1, size, size) of a shard at a time."""
        start = 0
        for path, size in zip(self.shards, self.sizes, strict=True):
            inside = rows[(rows >= start) & (rows < start + size)] - start
            if len(inside):
                yield Shard.load(path).images[inside][:, None]
            start += size


def _without_images(path: Path) -> tuple[Ints, ...]:
    """Return characters, faces and losses of a shard without reading its images."""
    return tuple(read_npz(path, ("characters", "faces", "losses")).values())


def write_sets(
    folder: Path,
    samples: Samples,
    split: CharacterSplit,
    typefaces: Sequence[str],
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write the sets that have images, one folder each; return their entries of the manifest."""
    has_held_out = bool(split.options.held_out_typefaces)
    train = samples.select(split.train, False)
    rows = {
        "train": _cut(train, samples.characters[train], split.options),
        "validation": samples.select(split.validation, False),
        "test": samples.select(split.test, True if has_held_out else None),
        "closed": samples.select(split.train, True) if has_held_out else train[:0],
    }
    rows = {name: selection for name, selection in rows.items() if len(selection)}
    record: dict[str, Any] = {}
    for number, (name, selection) in enumerate(rows.items()):
        characters, labels = np.unique(samples.characters[selection], return_inverse=True)
        write_arrays(
            folder / name,
            samples.images(selection),
            labels,
            samples.faces[selection],
            [f"U+{character:04X}" for character in characters],
            typefaces,
            mirror=False,
        )
        record[name] = _description(folder / name, labels)
        progress("write sets", number + 1, len(rows))
    losses = dict(zip(LOSSES, samples.losses.tolist(), strict=True))
    return {"images_left_out": losses, "sets": record}


def _cut(rows: Ints, characters: Ints, options: GlyphOptions) -> Ints:
    """Return the rows that remain after the cut to the shape of the training set."""
    counts = np.unique(characters, return_counts=True)[1]
    by_class = rows[np.argsort(characters, kind="stable")]
    starts = np.cumsum(counts) - counts
    positions = kept_images(torch.from_numpy(counts), options)
    remaining = [
        by_class[start + part.numpy()] for start, part in zip(starts, positions, strict=True)
    ]
    return np.sort(np.concatenate(remaining))


def _description(folder: Path, labels: Ints) -> dict[str, Any]:
    counts = np.bincount(labels)
    return {
        "images": len(labels),
        "characters": len(counts),
        "images_of_a_character": {
            f"{quantile:g}": float(np.quantile(counts, quantile)) for quantile in QUANTILES
        },
        "sha256": {name: sha256(folder / name) for name in (IMAGES, LABELS, VARIANTS)},
    }
