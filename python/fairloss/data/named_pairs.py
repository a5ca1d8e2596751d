"""Pairs of images by name, and their folds."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_flags
from fairloss.data.text_files import StrPath, check_format
from fairloss.typing import Bools, Ints

FOLDS = 10
Pair = tuple[str, str, bool]


@dataclass(frozen=True, eq=False)
class NamedPairs:
    """P pairs of images by name, as a list gives them.

    Attributes:
        first: P names, relative to the images' folder.
        second: P names likewise.
        genuine: (P,) bool.
        fold: (P,) int64, 0..9.
    """

    first: list[str]
    second: list[str]
    genuine: Bools
    fold: Ints

    def names(self) -> list[str]:
        """Return all images once, in the order of its first use."""
        return list(dict.fromkeys(chain.from_iterable(zip(self.first, self.second, strict=True))))


def contiguous_folds(pairs: int, folds: int = FOLDS) -> Ints:
    """Return the fold of each pair of a list in order of folds; the first may have one more."""
    return np.repeat(np.arange(folds), [len(p) for p in np.array_split(np.empty(pairs), folds)])


def interleaved_folds(genuine: npt.ArrayLike, folds: int = FOLDS) -> Ints:
    """Return the fold of each pair of a list that has all positives, then all negatives.

    Contiguous folds of such a list would hold one class only. Here each fold takes the next tenth
    of the positives and the next tenth of the negatives, in order.
    """
    flags = check_flags("genuine", genuine)
    fold = np.empty(len(flags), dtype=np.int64)
    for mask in (flags, ~flags):
        fold[mask] = contiguous_folds(int(mask.sum()), folds)
    return fold


def name_pairs(path: StrPath, pairs: list[Pair], folds: int = FOLDS) -> NamedPairs:
    """Return `NamedPairs` in contiguous folds; FormatError names `path` if they are too few."""
    count = len(pairs)
    check_format(count >= folds, path, f"holds {count} pairs, too few for {folds} folds")
    first, second, genuine = map(list, zip(*pairs, strict=True))
    return NamedPairs(first, second, np.array(genuine), contiguous_folds(count, folds))
