"""The pair lists of the verification sets in their native formats."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fairloss.io.atomic import FormatError, read_text

FOLDS = 10

Labels = npt.NDArray[np.bool_]
Folds = npt.NDArray[np.int64]
StrPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class NamedPairs:
    """P pairs of images by name, as a list gives them.

    Attributes:
        first, second: P names, relative to the images' folder.
        genuine: (P,) bool.
        fold: (P,) int64, 0..9.
    """

    first: list[str]
    second: list[str]
    genuine: Labels
    fold: Folds

    def names(self) -> list[str]:
        """Every image once, in the order of its first use."""
        return list(dict.fromkeys(chain.from_iterable(zip(self.first, self.second, strict=True))))


def contiguous_folds(pairs: int, folds: int = FOLDS) -> Folds:
    """Fold of each pair where a list is ordered fold by fold; the first folds may have one more."""
    return np.repeat(np.arange(folds), [len(p) for p in np.array_split(np.empty(pairs), folds)])


def interleaved_folds(genuine: npt.ArrayLike, folds: int = FOLDS) -> Folds:
    """Fold of each pair where a list has all positives, then all negatives.

    Contiguous folds of such a list would hold one class only. Here every fold takes the next tenth
    of the positives and the next tenth of the negatives, in order.
    """
    flags = np.asarray(genuine, dtype=np.bool_)
    fold = np.empty(len(flags), dtype=np.int64)
    for chosen in (flags, ~flags):
        fold[chosen] = contiguous_folds(int(chosen.sum()), folds)
    return fold


def read_pairs(path: StrPath, layout: str) -> NamedPairs:
    """Read a pair list.

    Args:
        path: the list; for "cfp" the folder `Protocol` of the data set.
        layout:
            "lfw": a header `folds pairs-per-class`, then `name i j` (same person) or
            `name i other j`, of images `name/name_0001.jpg`; ordered fold by fold.
            "rfw": the same without header.
            "calfw", "cplfw": two lines for a pair, `file label`; label 0 is an impostor pair, any
            other number a genuine one; all positives, then all negatives: folds are interleaved.
            "sllfw": two lines for a pair, `name/file`; genuine where the names are equal; ordered
            fold by fold.
            "agedb": `file file label` a line, label 1 or -1 (or 0); ordered fold by fold.
            "cfp": folders `Split/FP/01`..`10` of `same.txt` and `diff.txt`, of `i,j` into
            `Pair_list_F.txt` and `Pair_list_P.txt`.

    Raises:
        FormatError: naming the file, and the line where there is one.
        ValueError: an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    return LAYOUTS[layout](path)


def person_of(name: str, layout: str) -> str:
    """Who an image shows, by the naming of its data set."""
    path = PurePosixPath(name.replace("\\", "/"))
    if layout in ("calfw", "cplfw"):
        return path.stem.rpartition("_")[0] or path.stem
    if layout == "agedb":
        fields = path.stem.split("_")  # 0_MariaCallas_35_f
        return fields[1] if len(fields) > 1 else path.stem
    return path.parent.parent.name if layout == "cfp" else path.parent.name


def _read_lfw(path: StrPath) -> NamedPairs:
    lines = _lines(path)
    header = lines.pop(0).split() if lines else []
    if len(header) != 2 or not all(_is_count(field) for field in header):
        raise FormatError(path, "line 1: expected `folds pairs-per-class` such as `10 300`")
    folds, each = map(int, header)
    if not folds or len(lines) != 2 * folds * each:
        raise FormatError(
            path, f"the header promises {folds} folds of 2 x {each} pairs, found {len(lines)} pairs"
        )
    return _named(path, [_lfw_pair(path, n, line) for n, line in enumerate(lines, 2)], folds)


def _read_rfw(path: StrPath) -> NamedPairs:
    return _named(path, [_lfw_pair(path, n, line) for n, line in enumerate(_lines(path), 1)])


def _lfw_pair(path: StrPath, number: int, line: str) -> tuple[str, str, bool]:
    match line.split():
        case [name, i, j] if _is_count(i) and _is_count(j):
            return _lfw_image(name, i), _lfw_image(name, j), True
        case [name, i, other, j] if _is_count(i) and _is_count(j):
            return _lfw_image(name, i), _lfw_image(other, j), False
    raise FormatError(path, f"line {number}: expected `name i j` or `name i other j`, got {line!r}")


def _lfw_image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def _read_calfw(path: StrPath) -> NamedPairs:
    pairs = []
    for number, (one, two) in _two_lines(path):
        first, second = one.split(), two.split()
        if len(first) != 2 or len(second) != 2 or first[1] != second[1] or not _is_count(first[1]):
            raise FormatError(path, f"line {number}: expected two lines `file label`, equal labels")
        pairs.append((first[0], second[0], int(first[1]) != 0))
    named = _named(path, pairs)
    return NamedPairs(named.first, named.second, named.genuine, interleaved_folds(named.genuine))


def _read_sllfw(path: StrPath) -> NamedPairs:
    pairs = []
    for number, (one, two) in _two_lines(path):
        first, second = one.strip(), two.strip()
        if "/" not in first or "/" not in second:
            raise FormatError(path, f"line {number}: expected two lines `name/file`")
        pairs.append((first, second, person_of(first, "sllfw") == person_of(second, "sllfw")))
    return _named(path, pairs)


def _read_agedb(path: StrPath) -> NamedPairs:
    pairs = []
    for number, line in enumerate(_lines(path), 1):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in ("1", "-1", "0"):
            raise FormatError(path, f"line {number}: expected `file file label`, label 1 or -1")
        pairs.append((fields[0], fields[1], fields[2] == "1"))
    return _named(path, pairs)


def _read_cfp(path: StrPath) -> NamedPairs:
    root = Path(path)
    frontal, profile = (_numbered(root / f"Pair_list_{side}.txt") for side in "FP")
    pairs: list[tuple[str, str, bool]] = []
    sizes = []
    for fold in range(1, FOLDS + 1):
        before = len(pairs)
        for file, genuine in (("same.txt", True), ("diff.txt", False)):
            split = root / "Split" / "FP" / f"{fold:02d}" / file
            for number, line in enumerate(_lines(split), 1):
                i, _, j = line.partition(",")
                if i not in frontal or j not in profile:
                    raise FormatError(split, f"line {number}: expected `i,j` of the two lists")
                pairs.append((frontal[i], profile[j], genuine))
        sizes.append(len(pairs) - before)
    named = _named(root, pairs)
    return NamedPairs(named.first, named.second, named.genuine, np.repeat(np.arange(FOLDS), sizes))


def _numbered(path: Path) -> dict[str, str]:
    """`number ../Data/Images/001/frontal/01.jpg` lines: number -> path below `Data/Images`."""
    files = {}
    for number, line in enumerate(_lines(path), 1):
        index, _, file = line.partition(" ")
        parts = PurePosixPath(file.strip()).parts[-3:]
        if not _is_count(index) or len(parts) != 3:
            raise FormatError(path, f"line {number}: expected `number .../person/side/file`")
        files[index] = "/".join(parts)
    return files


def _named(path: StrPath, pairs: list[tuple[str, str, bool]], folds: int = FOLDS) -> NamedPairs:
    if len(pairs) < folds:
        raise FormatError(path, f"holds {len(pairs)} pairs, too few for {folds} folds")
    first, second, genuine = map(list, zip(*pairs, strict=True))
    return NamedPairs(first, second, np.array(genuine), contiguous_folds(len(pairs), folds))


def _two_lines(path: StrPath) -> list[tuple[int, tuple[str, str]]]:
    lines = _lines(path)
    if len(lines) % 2:
        raise FormatError(path, f"expected two lines for a pair, found {len(lines)} lines")
    return [(n + 1, (lines[n], lines[n + 1])) for n in range(0, len(lines), 2)]


def _lines(path: StrPath) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _is_count(field: str) -> bool:
    # at most 9 digits: int() of a longer one is slow, and no list has as many
    return field.isascii() and field.isdigit() and len(field) <= 9


LAYOUTS: dict[str, Callable[[StrPath], NamedPairs]] = {
    "lfw": _read_lfw,
    "rfw": _read_rfw,
    "calfw": _read_calfw,
    "cplfw": _read_calfw,
    "sllfw": _read_sllfw,
    "agedb": _read_agedb,
    "cfp": _read_cfp,
}
