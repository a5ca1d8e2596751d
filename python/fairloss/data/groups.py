"""Groups of identities, from a column of a table."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss.checks import expect
from fairloss.data.text_files import StrPath, check_format, read_table


def read_groups(
    table: StrPath,
    identities: Sequence[str],
    column: str = "group",
    key: str = "identity",
) -> tuple[list[str], Tensor]:
    """Return the groups in order of their names, and the (C,) int64 group of each identity.

    Args:
        table: a CSV file with a header; it may have rows for other identities too.
        identities: names, as in `FaceImages.identities`.
        column: name of the column with the group.
        key: name of the column with the identity.

    Raises:
        ValueError: a column is missing, or an identity has no row.
    """
    header, *rows = read_table(table) or [[]]
    missing = {column, key}.difference(header)
    expect(not missing, f"table {table}", f"columns {column!r} and {key!r}", header)
    for number, row in enumerate(rows, 2):
        got = f"row {number}: expected {len(header)} columns, got {len(row)}"
        check_format(len(row) >= len(header), table, got)
    group_of = {row[header.index(key)]: row[header.index(column)] for row in rows}
    unknown = [name for name in identities if name not in group_of]
    lacking = f"none for {len(unknown)} identities, the first {next(iter(unknown), None)!r}"
    expect(not unknown, f"table {table}", "a row for each identity", lacking)
    names = sorted({group_of[name] for name in identities})
    return names, torch.tensor([names.index(group_of[name]) for name in identities])
