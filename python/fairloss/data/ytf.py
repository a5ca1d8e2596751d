"""The pair list of YouTube Faces."""

import numpy as np

from fairloss.data.named_pairs import NamedPairs
from fairloss.data.text_files import StrPath, check_format, is_count, read_lines


def read_ytf_splits(path: StrPath) -> NamedPairs:
    """Read `splits.txt`: a header, then `fold, video, video, same, ...` rows.

    Videos are named `identity/number`; folds are numbered from 1.
    """
    rows = [[field.strip() for field in line.split(",")] for line in read_lines(path)]
    if rows and not is_count(rows[0][0]):
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        valid = len(row) >= 4 and is_count(row[0]) and row[3] in ("0", "1") and "" not in row[1:3]
        check_format(valid, path, f"row {number}: expected `fold, video, video, 0 or 1`")
    check_format(rows, path, "holds no pair")
    fold = np.array([int(row[0]) for row in rows])
    folds = np.unique(fold)
    numbered = np.array_equal(folds, np.arange(1, len(folds) + 1))
    check_format(numbered, path, "folds must be numbered 1, 2, ... without gaps")
    genuine = np.array([row[3] == "1" for row in rows])
    return NamedPairs([row[1] for row in rows], [row[2] for row in rows], genuine, fold - 1)
