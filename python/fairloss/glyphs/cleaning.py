"""Inspection of faces: faults, the shift of their glyphs, and faces of one design."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from fairloss.glyphs.rendering import Pen, Shift, is_blank, shift_in_pixels
from fairloss.glyphs.typefaces import Typeface
from fairloss.typing import Bools, Bytes, Float32s, Float64s

# Faces are inspected at this size, for which DUPLICATE was measured.
SIDE = 32
# Characters that faces are compared on. The distance of a pair of faces is a median over them.
SAMPLE = 128
# The median of fewer is no measure; a face that draws fewer cannot be compared with others.
MIN_SHARED = 16
# Of the side. A face with a larger shift has other faults.
MOST_SHIFT = 0.25
# Two faces that are nearer than this are one design. Over all 50 packages, the longest link that
# joins faces of a design is 0.0577 (two weights of Nanum Barun Gothic) and the shortest between two
# is 0.0646 (Ume Gothic and Monapo); this is the middle. In the lite set the gap is 0.043 to 0.077.
DUPLICATE = 0.061


@dataclass(frozen=True)
class Inspection:
    """The sample as one face draws it.

    Attributes:
        fault: why the face is unusable; "" if it is usable.
        shift: that centers a typical character.
        drawings: (S, SIDE, SIDE) uint8, shifted.
        drawn: (S,) bool, of drawings that have ink.
    """

    fault: str
    shift: Shift
    drawings: Bytes
    drawn: Bools


def sample_characters(typefaces: Sequence[Typeface]) -> list[int]:
    """Return SAMPLE code points, evenly spread over those in the tables of nearly all faces."""
    promised = Counter(c for typeface in typefaces for c in typeface.characters)
    most = max(promised.values())
    common = sorted(c for c, count in promised.items() if count >= 0.95 * most)
    positions = np.linspace(0, len(common) - 1, min(SAMPLE, len(common))).astype(int)
    return [common[position] for position in positions]


def inspect(typeface: Typeface, sample: Sequence[int]) -> Inspection:
    """Draw the sample in one face."""
    wide = np.zeros((len(sample), 2 * SIDE, 2 * SIDE), np.uint8)
    promised = 0
    fault = ""
    try:
        pen = Pen(typeface, SIDE, margin=SIDE // 2)  # a margin shows what would be cut off
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
    right, down = shift_in_pixels(shift, SIDE)
    left, top = SIDE // 2 - right, SIDE // 2 - down
    return Inspection(fault, shift, wide[:, top : top + SIDE, left : left + SIDE], drawn)


def _shift(wide: Bytes) -> Shift:
    """Return the shift of the center of a typical character to the center of the image."""
    shift = []
    for axis in (1, 2):  # of columns that have ink, then of rows
        line = wide.max(axis=axis) > 127
        line = line[line.max(axis=1)]
        last = line.shape[1] - 1 - line[:, ::-1].argmax(axis=1)
        middle = float(np.median((line.argmax(axis=1) + last + 1) / 2))
        shift.append(float(np.clip((SIDE - middle) / SIDE, -MOST_SHIFT, MOST_SHIFT)))
    return shift[0], shift[1]


def distances(faces: Sequence[Inspection]) -> Float64s:
    """Compute (F, F) distances in [0, 2]: medians over the sample of 1 - correlation of images.

    Images are blurred by (1, 2, 1)/4 in both directions, as weights differ, and compared at all
    nine offsets of up to one pixel, of which the least distance counts. inf where two faces share
    fewer than MIN_SHARED characters.
    """
    drawings = np.stack([face.drawings for face in faces], axis=1)  # (S, F, SIDE, SIDE)
    drawn = np.stack([face.drawn for face in faces], axis=1)
    shared = drawn[:, :, None] & drawn[:, None, :]
    reference = _features(drawings)
    nearest = np.full(shared.shape[1:], np.inf)
    for offset in product((-1, 0, 1), repeat=2):
        shifted = _features(np.roll(drawings, offset, axis=(2, 3)))
        correlation = np.where(shared, reference @ shifted.transpose(0, 2, 1), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no character is shared
            nearest = np.fmin(nearest, 1 - np.nanmedian(correlation, axis=0))
    nearest[shared.sum(axis=0) < MIN_SHARED] = np.inf
    return np.asarray(np.minimum(nearest, nearest.T), dtype=np.float64)


def _features(drawings: Bytes) -> Float32s:
    """Return (S, F, SIDE * SIDE), blurred, of mean 0 and length 1."""
    blurred = np.pad(drawings.astype(np.float32), ((0, 0), (0, 0), (1, 1), (1, 1)))
    blurred = blurred[:, :, :-2] + 2 * blurred[:, :, 1:-1] + blurred[:, :, 2:]
    blurred = blurred[..., :-2] + 2 * blurred[..., 1:-1] + blurred[..., 2:]
    flat = blurred.reshape(*drawings.shape[:2], -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    length: Float32s = np.linalg.norm(flat, axis=2, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), dtype=np.float32)


def design_numbers(between: Float64s) -> list[int]:
    """Number the design of each face, (F,) from `distances`, in order of its first face.

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
