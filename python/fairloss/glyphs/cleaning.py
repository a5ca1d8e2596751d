"""Which faces are usable, where they place their glyphs, and which of them are one design."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from fairloss.glyphs.rendering import Pen, Shift, is_blank, pixels
from fairloss.glyphs.typefaces import Typeface

# Faces are judged at this size, whatever size they will draw: DUPLICATE was measured at it.
SIDE = 32
# Characters that faces are compared on. The distance of a pair of faces is a median over them.
SAMPLE = 128
# The median of fewer is no measure; a face that draws fewer of them cannot be told from others.
MIN_SHARED = 16
# Of the side. A face whose characters are further aside has other faults.
MOST_SHIFT = 0.25
# Two faces that are nearer than this are one design. Over all 50 packages, the longest link that
# holds a design together is 0.0577 (two weights of Nanum Barun Gothic) and the shortest between two
# is 0.0646 (Ume Gothic and Monapo); this is the middle. In the lite set the gap is 0.043 to 0.077.
DUPLICATE = 0.061


@dataclass(frozen=True)
class Inspected:
    """What the sample shows of one face; `fault` says why it is unusable, "" if it is not.

    drawings (S, SIDE, SIDE) uint8 are shifted; drawn (S,) bool marks those that have ink.
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


def inspect(typeface: Typeface, sample: Sequence[int]) -> Inspected:
    """Draw the sample in one face."""
    wide = np.zeros((len(sample), 2 * SIDE, 2 * SIDE), np.uint8)
    promised = 0
    fault = ""
    try:
        pen = Pen(typeface, SIDE, margin=SIDE // 2)  # room to see what would be cut off
        for row, code_point in enumerate(sample):
            if code_point in typeface.characters:
                promised += 1
                image = pen.draw(code_point)
                if not pen.is_missing(image):
                    wide[row] = image
    except OSError as error:
        fault = f"fails: {error}"
    drawn = np.array([not is_blank(image, SIDE) for image in wide], dtype=np.bool_)
    if not fault and drawn.sum() < MIN_SHARED:
        fault = f"draws {drawn.sum()} of {promised} characters of the sample that it promises"
    shift = _shift(wide[drawn]) if drawn.any() else (0.0, 0.0)
    across, down = pixels(shift, SIDE)
    left, top = SIDE // 2 - across, SIDE // 2 - down
    return Inspected(fault, shift, wide[:, top : top + SIDE, left : left + SIDE], drawn)


def _shift(wide: npt.NDArray[np.uint8]) -> Shift:
    """What brings the middle of a typical character to the middle of the image."""
    moves = []
    for axis in (1, 2):  # of columns that have ink, then of rows
        line = wide.max(axis=axis) > 127
        line = line[line.max(axis=1)]
        last = line.shape[1] - 1 - line[:, ::-1].argmax(axis=1)
        middle = float(np.median((line.argmax(axis=1) + last + 1) / 2))
        moves.append(float(np.clip((SIDE - middle) / SIDE, -MOST_SHIFT, MOST_SHIFT)))
    return moves[0], moves[1]


def distances(faces: Sequence[Inspected]) -> npt.NDArray[np.float64]:
    """(F, F) in [0, 2]: median over the sample of 1 - correlation of two faces' images.

    Images are blurred by (1, 2, 1)/4 both ways, to be alike in other weights, and compared where
    they are and up to one pixel aside, the nearest of these nine. inf where two faces share fewer
    than MIN_SHARED characters.
    """
    drawings = np.stack([face.drawings for face in faces], axis=1)  # (S, F, SIDE, SIDE)
    drawn = np.stack([face.drawn for face in faces], axis=1)
    shared = drawn[:, :, None] & drawn[:, None, :]
    still = _features(drawings)
    nearest = np.full(shared.shape[1:], np.inf)
    for aside in product((-1, 0, 1), repeat=2):
        moved = _features(np.roll(drawings, aside, axis=(2, 3)))
        alike = np.where(shared, still @ moved.transpose(0, 2, 1), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nothing shared at all
            nearest = np.fmin(nearest, 1 - np.nanmedian(alike, axis=0))
    nearest[shared.sum(axis=0) < MIN_SHARED] = np.inf
    return np.asarray(np.minimum(nearest, nearest.T), dtype=np.float64)


def _features(drawings: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(S, F, SIDE * SIDE), blurred, of mean 0 and length 1."""
    blurred = np.pad(drawings.astype(np.float32), ((0, 0), (0, 0), (1, 1), (1, 1)))
    blurred = blurred[:, :, :-2] + 2 * blurred[:, :, 1:-1] + blurred[:, :, 2:]
    blurred = blurred[..., :-2] + 2 * blurred[..., 1:-1] + blurred[..., 2:]
    flat = blurred.reshape(*drawings.shape[:2], -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    length: npt.NDArray[np.float32] = np.linalg.norm(flat, axis=2, keepdims=True)
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
