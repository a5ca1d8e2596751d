"""Pair lists of LFW, RFW, CALFW, CPLFW, SLLFW, AgeDB-30 and CFP-FP in their native formats."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from fairloss.checks import check_choice
from fairloss.data.lfw import read_lfw, read_rfw
from fairloss.data.named_pairs import FOLDS, NamedPairs, Pair, interleaved_folds, name_pairs
from fairloss.data.suffixes import without_suffix
from fairloss.data.text_files import StrPath, check_format, is_count, read_lines, split_fields


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
    path = PurePosixPath(without_suffix(name))
    if layout in ("calfw", "cplfw"):
        return path.name.rpartition("_")[0] or path.name
    if layout == "agedb":
        fields = path.name.split("_")  # 0_MariaCallas_35_f
        return fields[1] if len(fields) > 1 else path.name
    return path.parent.parent.name if layout == "cfp" else path.parent.name


def _read_calfw(path: StrPath) -> NamedPairs:
    pairs = []
    for number, one, two in _line_pairs(path):
        first, second = split_fields(one, 2), split_fields(two, 2)
        valid = len(first) == len(second) == 2 and first[1] == second[1] and is_count(first[1])
        check_format(valid, path, f"line {number}: expected two lines `file label`, equal labels")
        pairs.append((first[0], second[0], int(first[1]) != 0))
    named = name_pairs(path, pairs)
    return replace(named, fold=interleaved_folds(named.genuine))


def _read_sllfw(path: StrPath) -> NamedPairs:
    pairs = []
    for number, first, second in _line_pairs(path):
        valid = "/" in first and "/" in second
        check_format(valid, path, f"line {number}: expected two lines `name/file`")
        pairs.append((first, second, identity_of(first, "sllfw") == identity_of(second, "sllfw")))
    return name_pairs(path, pairs)


def _read_agedb(path: StrPath) -> NamedPairs:
    rows = [split_fields(line, 3) for line in read_lines(path)]
    for number, row in enumerate(rows, 1):
        valid = len(row) == 3 and row[2] in ("1", "-1", "0")
        check_format(valid, path, f"line {number}: expected `file file label`, label 1 or -1")
    return name_pairs(path, [(row[0], row[1], row[2] == "1") for row in rows])


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
    return replace(name_pairs(root, pairs), fold=np.array(folds))


def _numbered(path: Path) -> dict[str, str]:
    """Read `number ../Data/Images/001/frontal/01.jpg` lines: number -> path in `Data/Images`."""
    files = {}
    for number, line in enumerate(read_lines(path), 1):
        index, *file = line.split(maxsplit=1)
        parts = PurePosixPath(*file).parts[-3:]
        valid = is_count(index) and len(parts) == 3
        check_format(valid, path, f"line {number}: expected `number .../person/side/file`")
        files[index] = "/".join(parts)
    return files


def _line_pairs(path: StrPath) -> list[tuple[int, str, str]]:
    """Return (line number, line, next line) of a list with two lines for a pair."""
    lines = read_lines(path)
    even = len(lines) % 2 == 0
    check_format(even, path, f"expected two lines for a pair, found {len(lines)} lines")
    return [(n + 1, lines[n], lines[n + 1]) for n in range(0, len(lines), 2)]


LAYOUTS: dict[str, Callable[[StrPath], NamedPairs]] = {
    "lfw": read_lfw,
    "rfw": read_rfw,
    "calfw": _read_calfw,
    "cplfw": _read_calfw,
    "sllfw": _read_sllfw,
    "agedb": _read_agedb,
    "cfp": _read_cfp,
}
