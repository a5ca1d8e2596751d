"""The meta files of IJB-B and IJB-C, as insightface distributes them, and YouTube Faces' splits."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.data.pair_lists import NamedPairs
from fairloss.io.atomic import FormatError, read_text

StrPath = str | os.PathLike[str]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TemplateMedia:
    """`<set>_face_tid_mid.txt`: N images with their template and medium, (N,) int64 each."""

    names: list[str]
    template: Ints
    media: Ints


@dataclass(frozen=True, eq=False)
class Landmarks:
    """`<set>_name_5pts_score.txt`: N images, points (N, 5, 2) x and y, detector score (N,)."""

    names: list[str]
    points: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TemplatePairs:
    """`<set>_template_pair_label.txt`: P pairs of template numbers, (P,) each."""

    first: Ints
    second: Ints
    genuine: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Enrolled:
    """`<set>_1N_*.csv`: one template a row with its subject, (T,) each; repeated rows merged."""

    template: Ints
    subject: Ints


def read_template_media(path: StrPath) -> TemplateMedia:
    """Read `name template media` lines; FormatError names the line."""
    rows = _fields(path, 3)
    names = [row[0] for row in rows]
    return TemplateMedia(names, _integers(path, rows, 1), _integers(path, rows, 2))


def read_landmarks(path: StrPath) -> Landmarks:
    """Read `name x1 y1 .. x5 y5 score` lines; FormatError names the line."""
    rows = _fields(path, 12)
    try:
        values = np.array([row[1:] for row in rows], dtype=np.float32)
    except ValueError as error:
        raise FormatError(path, f"expected numbers after the name: {error}") from error
    if not np.isfinite(values).all():
        raise FormatError(path, "holds NaN or infinity")
    return Landmarks([row[0] for row in rows], values[:, :10].reshape(-1, 5, 2), values[:, 10])


def read_template_pairs(path: StrPath) -> TemplatePairs:
    """Read `template template label` lines; IJB-C has 15.7 million of them."""
    text = io.StringIO(read_text(path))
    try:
        table = np.loadtxt(text, dtype=np.int64, comments=None, ndmin=2, usecols=(0, 1, 2))
    except (ValueError, OverflowError) as error:
        raise FormatError(path, f"expected `template template label` lines: {error}") from error
    if not len(table):
        raise FormatError(path, "is empty")
    if (table < 0).any() or not np.isin(table[:, 2], (0, 1)).all():
        raise FormatError(path, "templates must be numbers above 0, labels must be 0 or 1")
    return TemplatePairs(table[:, 0], table[:, 1], table[:, 2] == 1)


def read_enrolled(path: StrPath) -> Enrolled:
    """Read a gallery or probe `.csv`: a header, then `template,subject,...` rows."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()][1:]
    rows = [(number, line.split(",")) for number, line in enumerate(lines, 2)]
    for number, row in rows:
        if len(row) < 2:
            raise FormatError(path, f"line {number}: expected `template,subject,...`")
    fields = [row for _, row in rows]
    if not fields:
        raise FormatError(path, "holds no template")
    table = np.stack((_integers(path, fields, 0), _integers(path, fields, 1)), axis=1)
    table = np.unique(table, axis=0)
    if len(np.unique(table[:, 0])) != len(table):
        raise FormatError(path, "a template has two subjects")
    return Enrolled(table[:, 0], table[:, 1])


def read_ytf_splits(path: StrPath) -> NamedPairs:
    """YouTube Faces' `splits.txt`: a header, then `fold, video, video, same, ...` rows.

    Videos are named `person/number`; folds are numbered from 1.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    rows = [[field.strip() for field in line.split(",")] for line in lines]
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        if len(row) < 4 or not _is_number(row[0]) or row[3] not in ("0", "1") or "" in row[1:3]:
            raise FormatError(path, f"row {number}: expected `fold, video, video, 0 or 1`")
    if not rows:
        raise FormatError(path, "holds no pair")
    fold = _integers(path, rows, 0)
    folds = np.unique(fold)
    if not np.array_equal(folds, np.arange(1, len(folds) + 1)):
        raise FormatError(path, "folds must be numbered 1, 2, ... without gaps")
    genuine = np.array([row[3] == "1" for row in rows])
    return NamedPairs([row[1] for row in rows], [row[2] for row in rows], genuine, fold - 1)


def _fields(path: StrPath, count: int) -> list[list[str]]:
    rows = [line.split() for line in read_text(path).splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) != count:
            raise FormatError(path, f"line {number}: expected {count} fields, got {len(row)}")
    if not rows:
        raise FormatError(path, "is empty")
    return rows


def _integers(path: StrPath, rows: list[list[str]], column: int) -> Ints:
    for number, row in enumerate(rows, 1):
        if not _is_number(row[column]):
            raise FormatError(path, f"row {number}: expected a number, got {row[column]!r}")
    return np.array([int(row[column]) for row in rows], dtype=np.int64)


def _is_number(field: str) -> bool:
    # at most 9 digits: template and media numbers are small, longer ones are damage
    return field.isascii() and field.isdigit() and len(field) <= 9
