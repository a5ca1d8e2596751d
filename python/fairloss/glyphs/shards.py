"""Rendering of many characters in all designs, a shard at a time, in one or several processes."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fairloss.glyphs.rendering import Pen, Shift, is_blank
from fairloss.glyphs.typefaces import Typeface
from fairloss.io.atomic import write_atomic
from fairloss.io.npz import read_npz
from fairloss.typing import Bytes, Ints

# Characters of a shard: some 5,000 images, 5 MB and half a second, which an interruption can lose.
CHARACTERS = 256
LOSSES = ("blank", "missing", "failed", "duplicate")


@dataclass(frozen=True)
class Drawing:
    """Faces, their designs and the options of rendering.

    A character is drawn by the first face of each design that has it, or by all with `all_faces`.

    Attributes:
        faces: the typefaces.
        shifts: of each face, see `Pen`.
        designs: positions in `faces`, a list for each design.
        size: side of the images in pixels.
        all_faces: whether all faces of a design draw.
    """

    faces: Sequence[Typeface]
    shifts: Sequence[Shift]
    designs: Sequence[Sequence[int]]
    size: int
    all_faces: bool


class Shard(NamedTuple):
    """The images of some characters.

    Attributes:
        images: (n, size, size) uint8.
        characters: (n,) code points.
        faces: (n,) positions in `Drawing.faces`.
        losses: (4,) numbers of images left out, for each of `LOSSES`.
    """

    images: Bytes
    characters: Ints
    faces: Ints
    losses: Ints

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Read a file of `save`; FormatError if it is damaged."""
        return cls(**read_npz(path, cls._fields))

    def save(self, path: Path) -> None:
        """Write the file atomically."""

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **self._asdict())

        write_atomic(path, write)


class ShardRenderer:
    """Renders shards; keeps the fonts open."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self._pens: dict[int, Pen] = {}

    def render(self, characters: Sequence[int]) -> Shard:
        """Return the images of the characters that are neither blank, missing nor duplicates."""
        size = self.drawing.size
        images: list[Bytes] = [np.zeros((0, size, size), np.uint8)]
        labels: list[tuple[int, int]] = []
        losses: Counter[str] = Counter()
        for character in characters:
            contents: set[bytes] = set()
            for face, image in self._images(character, losses):
                if image.tobytes() in contents:
                    losses["duplicate"] += 1
                    continue
                contents.add(image.tobytes())
                images.append(image[None])
                labels.append((character, face))
        columns = np.array(labels, dtype=np.int64).reshape(-1, 2)
        lost = np.array([losses[loss] for loss in LOSSES], dtype=np.int64)
        return Shard(np.concatenate(images), columns[:, 0], columns[:, 1], lost)

    def _images(self, character: int, losses: Counter[str]) -> Iterator[tuple[int, Bytes]]:
        for design in self.drawing.designs:
            for face in design:
                if character not in self.drawing.faces[face].characters:
                    continue
                image = self._image(face, character, losses)
                if image is not None:
                    yield face, image
                    if not self.drawing.all_faces:
                        break

    def _image(self, face: int, character: int, losses: Counter[str]) -> Bytes | None:
        drawing = self.drawing
        if face not in self._pens:
            self._pens[face] = Pen(drawing.faces[face], drawing.size, drawing.shifts[face])
        pen = self._pens[face]
        try:
            image = pen.draw(character)
        except OSError:
            losses["failed"] += 1
            return None
        # a table may list a glyph that is empty, or that is the box for a missing one
        if is_blank(image, drawing.size):
            losses["blank"] += 1
        elif pen.is_missing(image):
            losses["missing"] += 1
        else:
            return image
        return None


def draw_shards(
    folder: Path, drawing: Drawing, order: Sequence[int], jobs: int
) -> Iterator[tuple[Path, list[int]]]:
    """Yield (file, its characters) for each `CHARACTERS` of `order`, in that order.

    A file is complete when it is yielded, and an existing one is not drawn again. The caller stops
    the iteration to stop the drawing.
    """
    parts = [
        (folder / f"{start // CHARACTERS:05d}.npz", list(order[start : start + CHARACTERS]))
        for start in range(0, len(order), CHARACTERS)
    ]
    if jobs == 1:
        _start_process(drawing)
        for path, characters in parts:
            _render_if_missing(path, characters)
            yield path, characters
        return
    # a forked process would inherit the locks of torch's threads in a locked state
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_start_process, initargs=(drawing,))
    ahead = 2 * jobs  # enough to occupy all processes, and little work to discard
    try:
        futures = [pool.submit(_render_if_missing, *part) for part in parts[:ahead]]
        for number, (path, characters) in enumerate(parts):
            futures[number].result()
            futures += [pool.submit(_render_if_missing, *p) for p in parts[len(futures) :][:1]]
            yield path, characters
    finally:
        pool.shutdown(cancel_futures=True)


_renderer: ShardRenderer  # of this process


def _start_process(drawing: Drawing) -> None:
    global _renderer
    _renderer = ShardRenderer(drawing)


def _render_if_missing(path: Path, characters: Sequence[int]) -> None:
    if not path.is_file():
        _renderer.render(characters).save(path)
