"""Drawing many characters in all designs, a shard at a time, by several processes if asked."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.glyphs.rendering import Image, Pen, Shift, is_blank
from fairloss.glyphs.typefaces import Typeface
from fairloss.io.atomic import write_atomic

# Characters a shard: some 5,000 images, 5 MB and half a second, is what a kill can cost.
CHARACTERS = 256
LOSSES = ("blank", "missing", "failed", "duplicate")


@dataclass(frozen=True)
class Drawing:
    """What to draw with: `faces[f]` moved by `shifts[f]`, a design being a list of faces.

    A character is drawn by the first face of each design that has it, or by all with `all_faces`.
    """

    faces: Sequence[Typeface]
    shifts: Sequence[Shift]
    designs: Sequence[Sequence[int]]
    size: int
    all_faces: bool


class Shard(NamedTuple):
    """The images of some characters.

    images (n, size, size) uint8; characters (n,) code points; faces (n,) positions in
    `Drawing.faces`; losses (4,) images left out, for each of LOSSES.
    """

    images: npt.NDArray[np.uint8]
    characters: npt.NDArray[np.int64]
    faces: npt.NDArray[np.int64]
    losses: npt.NDArray[np.int64]

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields})

    def save(self, path: Path) -> None:
        """Write the file whole."""

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **self._asdict())

        write_atomic(path, write)


class Draughtsman:
    """Draws shards; keeps the fonts open."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.pens: dict[int, Pen] = {}

    def shard(self, characters: Sequence[int]) -> Shard:
        """All images of the characters that are worth keeping."""
        images: list[Image] = []
        who: list[int] = []
        by: list[int] = []
        losses: Counter[str] = Counter()
        for character in characters:
            seen: set[bytes] = set()
            for face, image in self._images(character, losses):
                if image.tobytes() in seen:
                    losses["duplicate"] += 1
                    continue
                seen.add(image.tobytes())
                images.append(image)
                who.append(character)
                by.append(face)
        size = self.drawing.size
        return Shard(
            np.stack(images) if images else np.zeros((0, size, size), np.uint8),
            np.array(who, dtype=np.int64),
            np.array(by, dtype=np.int64),
            np.array([losses[loss] for loss in LOSSES], dtype=np.int64),
        )

    def _images(self, character: int, losses: Counter[str]) -> Iterator[tuple[int, Image]]:
        for design in self.drawing.designs:
            for face in design:
                if character not in self.drawing.faces[face].characters:
                    continue
                image = self._image(face, character, losses)
                if image is not None:
                    yield face, image
                    if not self.drawing.all_faces:
                        break

    def _image(self, face: int, character: int, losses: Counter[str]) -> Image | None:
        if face not in self.pens:
            drawing = self.drawing
            self.pens[face] = Pen(drawing.faces[face], drawing.size, drawing.shifts[face])
        pen = self.pens[face]
        try:
            image = pen.draw(character)
        except OSError:
            losses["failed"] += 1
            return None
        # a table may promise a glyph that is empty, or that is the box for a missing one
        if is_blank(image, self.drawing.size):
            losses["blank"] += 1
            return None
        if pen.is_missing(image):
            losses["missing"] += 1
            return None
        return image


def draw_shards(
    folder: Path, drawing: Drawing, order: Sequence[int], jobs: int
) -> Iterator[tuple[Path, list[int]]]:
    """(file, its characters) for every CHARACTERS of `order`, in that order.

    A file is complete when it is yielded, and one that is already there is not drawn again. Stop
    iterating to draw no more.
    """
    parts = [
        (folder / f"{start // CHARACTERS:05d}.npz", list(order[start : start + CHARACTERS]))
        for start in range(0, len(order), CHARACTERS)
    ]
    if jobs == 1:
        _start(drawing)
        for path, characters in parts:
            _ensure(path, characters)
            yield path, characters
        return
    # a forked process would inherit torch's threads as locks that nobody releases
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_start, initargs=(drawing,))
    ahead = 2 * jobs  # enough to keep everyone busy, little to throw away
    try:
        futures = [pool.submit(_ensure, path, characters) for path, characters in parts[:ahead]]
        for number, (path, characters) in enumerate(parts):
            futures[number].result()
            futures += [pool.submit(_ensure, *part) for part in parts[len(futures) :][:1]]
            yield path, characters
    finally:
        pool.shutdown(cancel_futures=True)


_draughtsman: Draughtsman  # of this process


def _start(drawing: Drawing) -> None:
    global _draughtsman
    _draughtsman = Draughtsman(drawing)


def _ensure(path: Path, characters: Sequence[int]) -> None:
    if not path.is_file():
        _draughtsman.shard(characters).save(path)
