"""Groups of identities, from a column of a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


def read_groups(
    table: str | os.PathLike[str],
    identities: Sequence[str],
    column: str = "group",
    key: str = "identity",
) -> tuple[list[str], Tensor]:
    """The groups in order of their names, and (C,) int64 group of each identity.

    Args:
        table: a CSV file with a header; it may have rows for other identities too.
        identities: names, as in `FaceImages.identities`.
        column, key: names of the columns with the group and with the identity.

    Raises:
        ValueError: a column is missing, or an identity has no row.
    """
    with Path(table).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = sorted({column, key}.difference(reader.fieldnames or ()))
        if missing:
            raise ValueError(f"table: {table} has no column {missing[0]!r}: {reader.fieldnames}")
        group_of = {row[key]: row[column] for row in reader}
    unknown = [name for name in identities if name not in group_of]
    if unknown:
        raise ValueError(
            f"table: {table} has no row for {len(unknown)} identities, first {unknown[0]!r}"
        )
    names = sorted({group_of[name] for name in identities})
    return names, torch.tensor([names.index(group_of[name]) for name in identities])
