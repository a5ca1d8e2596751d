"""Groups of identities, from a column of a table."""

import csv
import io
from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss.checks import expect
from fairloss.data.text_files import StrPath, read_listing


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
    reader = csv.DictReader(io.StringIO(read_listing(table)))
    missing = {column, key}.difference(reader.fieldnames or ())
    expect(not missing, f"table {table}", f"columns {column!r} and {key!r}", reader.fieldnames)
    group_of = {row[key]: row[column] for row in reader}
    unknown = [name for name in identities if name not in group_of]
    lacking = f"none for {len(unknown)} identities, the first {next(iter(unknown), None)!r}"
    expect(not unknown, f"table {table}", "a row for each identity", lacking)
    names = sorted({group_of[name] for name in identities})
    return names, torch.tensor([names.index(group_of[name]) for name in identities])
