"""Pair lists of LFW, RFW, CALFW, CPLFW, SLLFW, AgeDB-30 and CFP-FP in their native formats."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_choice
from fairloss.data.text_files import StrPath, check_format, is_count, read_lines
from fairloss.io.atomic import FormatError
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
    flags = np.asarray(genuine, dtype=np.bool_)
    fold = np.empty(len(flags), dtype=np.int64)
    for mask in (flags, ~flags):
        fold[mask] = contiguous_folds(int(mask.sum()), folds)
    return fold


def read_pairs(path: StrPath, layout: str) -> NamedPairs:
    """Read a pair list.

    Args:
        path: the list; for "cfp" the folder `Protocol` of the data set.
        layout:
            "lfw": a header `folds pairs-per-class`, then `name i j` (same identity) or
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
    check_choice("layout", layout, tuple(LAYOUTS))
    return LAYOUTS[layout](path)


def identity_of(name: str, layout: str) -> str:
    """Return the identity that an image shows, by the naming of its data set."""
    path = PurePosixPath(name.replace("\\", "/"))
    if layout in ("calfw", "cplfw"):
        return path.stem.rpartition("_")[0] or path.stem
    if layout == "agedb":
        fields = path.stem.split("_")  # 0_MariaCallas_35_f
        return fields[1] if len(fields) > 1 else path.stem
    return path.parent.parent.name if layout == "cfp" else path.parent.name


def _read_lfw(path: StrPath) -> NamedPairs:
    lines = read_lines(path)
    header = lines.pop(0).split() if lines else []
    valid = len(header) == 2 and all(map(is_count, header))
    check_format(valid, path, "line 1: expected `folds pairs-per-class` such as `10 300`")
    folds, each = map(int, header)
    check_format(
        folds and len(lines) == 2 * folds * each,
        path,
        f"the header promises {folds} folds of 2 x {each} pairs, found {len(lines)} pairs",
    )
    return _named(path, [_lfw_pair(path, n, line) for n, line in enumerate(lines, 2)], folds)


def _read_rfw(path: StrPath) -> NamedPairs:
    return _named(path, [_lfw_pair(path, n, line) for n, line in enumerate(read_lines(path), 1)])


def _lfw_pair(path: StrPath, number: int, line: str) -> Pair:
    match line.split():
        case [name, i, j] if is_count(i) and is_count(j):
            return _lfw_image(name, i), _lfw_image(name, j), True
        case [name, i, other, j] if is_count(i) and is_count(j):
            return _lfw_image(name, i), _lfw_image(other, j), False
    raise FormatError(path, f"line {number}: expected `name i j` or `name i other j`, got {line!r}")


def _lfw_image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def _read_calfw(path: StrPath) -> NamedPairs:
    pairs = []
    for number, one, two in _line_pairs(path):
        first, second = one.split(), two.split()
        valid = len(first) == len(second) == 2 and first[1] == second[1] and is_count(first[1])
        check_format(valid, path, f"line {number}: expected two lines `file label`, equal labels")
        pairs.append((first[0], second[0], int(first[1]) != 0))
    named = _named(path, pairs)
    return replace(named, fold=interleaved_folds(named.genuine))


def _read_sllfw(path: StrPath) -> NamedPairs:
    pairs = []
    for number, first, second in _line_pairs(path):
        valid = "/" in first and "/" in second
        check_format(valid, path, f"line {number}: expected two lines `name/file`")
        pairs.append((first, second, identity_of(first, "sllfw") == identity_of(second, "sllfw")))
    return _named(path, pairs)


def _read_agedb(path: StrPath) -> NamedPairs:
    rows = [line.split() for line in read_lines(path)]
    for number, row in enumerate(rows, 1):
        valid = len(row) == 3 and row[2] in ("1", "-1", "0")
        check_format(valid, path, f"line {number}: expected `file file label`, label 1 or -1")
    return _named(path, [(row[0], row[1], row[2] == "1") for row in rows])


def _read_cfp(path: StrPath) -> NamedPairs:
    root = Path(path)
    frontal, profile = (_numbered(root / f"Pair_list_{side}.txt") for side in "FP")
    pairs: list[Pair] = []
    folds: list[int] = []
    for fold in range(FOLDS):
        for file, genuine in (("same.txt", True), ("diff.txt", False)):
            split = root / "Split" / "FP" / f"{fold + 1:02d}" / file
            for number, line in enumerate(read_lines(split), 1):
                i, _, j = line.partition(",")
                valid = i in frontal and j in profile
                check_format(valid, split, f"line {number}: expected `i,j` of the two lists")
                pairs.append((frontal[i], profile[j], genuine))
                folds.append(fold)
    return replace(_named(root, pairs), fold=np.array(folds))


def _numbered(path: Path) -> dict[str, str]:
    """Read `number ../Data/Images/001/frontal/01.jpg` lines: number -> path in `Data/Images`."""
    files = {}
    for number, line in enumerate(read_lines(path), 1):
        index, _, file = line.partition(" ")
        parts = PurePosixPath(file.strip()).parts[-3:]
        valid = is_count(index) and len(parts) == 3
        check_format(valid, path, f"line {number}: expected `number .../person/side/file`")
        files[index] = "/".join(parts)
    return files


def _named(path: StrPath, pairs: list[Pair], folds: int = FOLDS) -> NamedPairs:
    count = len(pairs)
    check_format(count >= folds, path, f"holds {count} pairs, too few for {folds} folds")
    first, second, genuine = map(list, zip(*pairs, strict=True))
    return NamedPairs(first, second, np.array(genuine), contiguous_folds(count, folds))


def _line_pairs(path: StrPath) -> list[tuple[int, str, str]]:
    """Return (line number, line, next line) of a list with two lines for a pair."""
    lines = read_lines(path)
    even = len(lines) % 2 == 0
    check_format(even, path, f"expected two lines for a pair, found {len(lines)} lines")
    return [(n + 1, lines[n], lines[n + 1]) for n in range(0, len(lines), 2)]


LAYOUTS: dict[str, Callable[[StrPath], NamedPairs]] = {
    "lfw": _read_lfw,
    "rfw": _read_rfw,
    "calfw": _read_calfw,
    "cplfw": _read_calfw,
    "sllfw": _read_sllfw,
    "agedb": _read_agedb,
    "cfp": _read_cfp,
}
