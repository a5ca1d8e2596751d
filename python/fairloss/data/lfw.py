"""Pair lists of LFW, and of RFW, whose lines are the same."""

from fairloss.data.named_pairs import NamedPairs, Pair, name_pairs
from fairloss.data.text_files import StrPath, check_format, is_count, read_lines, split_fields
from fairloss.io.atomic import FormatError


def read_lfw(path: StrPath) -> NamedPairs:
    """Read `pairs.txt` of LFW: a header, then fold by fold."""
    lines = read_lines(path)
    header = split_fields(lines.pop(0), 2) if lines else []
    valid = len(header) == 2 and all(map(is_count, header))
    check_format(valid, path, "line 1: expected `folds pairs-per-class` such as `10 300`")
    folds, each = map(int, header)
    check_format(
        folds and len(lines) == 2 * folds * each,
        path,
        f"the header promises {folds} folds of 2 x {each} pairs, found {len(lines)} pairs",
    )
    return name_pairs(path, [_lfw_pair(path, n, line) for n, line in enumerate(lines, 2)], folds)


def read_rfw(path: StrPath) -> NamedPairs:
    """Read a list of RFW: the same lines without a header."""
    return name_pairs(
        path, [_lfw_pair(path, n, line) for n, line in enumerate(read_lines(path), 1)]
    )


def _lfw_pair(path: StrPath, number: int, line: str) -> Pair:
    match split_fields(line, 3, 4):
        case [name, i, j] if is_count(i) and is_count(j):
            return _lfw_image(name, i), _lfw_image(name, j), True
        case [name, i, other, j] if is_count(i) and is_count(j):
            return _lfw_image(name, i), _lfw_image(other, j), False
    raise FormatError(path, f"line {number}: expected `name i j` or `name i other j`, got {line!r}")


def _lfw_image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
