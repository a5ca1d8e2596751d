"""Which faces are usable, where they place their glyphs, and which of them are one design."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.data.glyphs.rendering import Pen, Shift, is_blank
from fairloss.data.glyphs.typefaces import Typeface

# Characters that faces are compared on. The distance of a pair of faces is a median over them.
SAMPLE = 128
# The median of fewer is no measure; a face that draws fewer of them cannot be told from others.
MIN_SHARED = 16
# Two faces that are nearer than this are one design. Over all 50 packages, the longest link that
# holds a design together is 0.0577 (two weights of Nanum Barun Gothic) and the shortest between two
# is 0.0646 (Ume Gothic and Monapo); this is the middle. In the lite set the gap is 0.043 to 0.077.
DUPLICATE = 0.061


@dataclass(frozen=True)
class Inspected:
    """What the sample shows of one face; `fault` says why it is unusable, "" if it is not.

    drawings (S, size, size) uint8 are shifted; drawn (S,) bool marks those that have ink.
    """

    fault: str
    shift: Shift
    drawings: npt.NDArray[np.uint8]
    drawn: npt.NDArray[np.bool_]


def sample_characters(typefaces: Sequence[Typeface]) -> list[int]:
    """SAMPLE code points, evenly spread over those that nearly all faces promise."""
    promised = Counter(c for typeface in typefaces for c in typeface.characters)
    most = max(promised.values())
    common = sorted(c for c, count in promised.items() if count >= 0.95 * most)
    places = np.linspace(0, len(common) - 1, min(SAMPLE, len(common))).astype(int)
    return [common[place] for place in places]


def inspect(typeface: Typeface, sample: Sequence[int], size: int) -> Inspected:
    """Draw the sample in one face."""
    wide = np.zeros((len(sample), 2 * size, 2 * size), np.uint8)
    promised = 0
    fault = ""
    try:
        pen = Pen(typeface, size)
        pen.size, pen.centre = 2 * size, (size, size)  # room to see what would be cut off
        for row, code_point in enumerate(sample):
            if code_point in typeface.characters:
                promised += 1
                image = pen.draw(code_point)
                if not pen.is_missing(image):
                    wide[row] = image
    except OSError as error:
        fault = f"fails: {error}"
    drawn = np.array([not is_blank(image) for image in wide], dtype=np.bool_)
    if not fault and drawn.sum() < MIN_SHARED:
        fault = f"draws {drawn.sum()} of {promised} characters of the sample that it promises"
    shift = _shift(wide[drawn], size) if drawn.any() else (0, 0)
    left, top = size // 2 - shift[0], size // 2 - shift[1]
    return Inspected(fault, shift, wide[:, top : top + size, left : left + size], drawn)


def _shift(wide: npt.NDArray[np.uint8], size: int) -> Shift:
    """What brings the middle of a typical character to the middle of the image."""
    middles = []
    for axis in (1, 2):  # of columns that have ink, then of rows
        line = wide.max(axis=axis) > 127
        line = line[line.max(axis=1)]
        last = line.shape[1] - 1 - line[:, ::-1].argmax(axis=1)
        middles.append(float(np.median((line.argmax(axis=1) + last + 1) / 2)))
    across, down = (int(np.clip(round(size - middle), -size // 4, size // 4)) for middle in middles)
    return across, down


def distances(faces: Sequence[Inspected]) -> npt.NDArray[np.float64]:
    """(F, F) in [0, 2]: median over the sample of 1 - correlation of two faces' images.

    Images are blurred by (1, 2, 1)/4 both ways, so that a stroke one pixel aside still counts as
    the same. inf where two faces share fewer than MIN_SHARED characters.
    """
    features = [_features(face.drawings) for face in faces]
    found = np.full((len(faces), len(faces)), np.inf)
    for a, one in enumerate(faces):
        for b in range(a):
            shared = one.drawn & faces[b].drawn
            if shared.sum() >= MIN_SHARED:
                alike = (features[a][shared] * features[b][shared]).sum(axis=1)
                found[a, b] = found[b, a] = 1 - np.median(alike)
    return found


def _features(drawings: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(S, size * size), blurred, of mean 0 and length 1."""
    blurred = np.pad(drawings.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    blurred = blurred[:, :-2] + 2 * blurred[:, 1:-1] + blurred[:, 2:]
    blurred = blurred[:, :, :-2] + 2 * blurred[:, :, 1:-1] + blurred[:, :, 2:]
    flat = blurred.reshape(len(drawings), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length: npt.NDArray[np.float32] = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), dtype=np.float32)


def design_numbers(between: npt.NDArray[np.float64]) -> list[int]:
    """The design of each face, (F,) from `distances`, numbered in order of its first face.

    Faces joined by a chain of pairs below DUPLICATE are one design.
    """
    design = list(range(len(between)))
    for face in range(len(between)):
        for other in range(face):
            if between[face, other] < DUPLICATE and design[face] != design[other]:
                joined = {design[face], design[other]}
                design = [min(joined) if d in joined else d for d in design]
    number = {d: n for n, d in enumerate(sorted(set(design)))}
    return [number[d] for d in design]
