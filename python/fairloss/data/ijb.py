"""The meta files of IJB-B and IJB-C, as insightface distributes them."""

import io
from dataclasses import dataclass

import numpy as np

from fairloss.data.text_files import (
    StrPath,
    check_format,
    is_count,
    read_lines,
    split_fields,
)
from fairloss.io.atomic import FormatError, read_text
from fairloss.typing import Bools, Float32s, Ints


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
    points: Float32s
    score: Float32s


@dataclass(frozen=True, eq=False)
class TemplatePairs:
    """`<set>_template_pair_label.txt`: P pairs of template numbers, (P,) each."""

    first: Ints
    second: Ints
    genuine: Bools


@dataclass(frozen=True, eq=False)
class Enrolled:
    """`<set>_1N_*.csv`: templates with their identity (SUBJECT_ID), (T,) each, all different."""

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
    check_format(np.isfinite(values).all(), path, "holds NaN or infinity")
    return Landmarks([row[0] for row in rows], values[:, :10].reshape(-1, 5, 2), values[:, 10])


def read_template_pairs(path: StrPath) -> TemplatePairs:
    """Read `template template label` lines; IJB-C has 15.7 million of them."""
    text = io.StringIO(read_text(path))
    try:
        table = np.loadtxt(text, dtype=np.int64, comments=None, ndmin=2, usecols=(0, 1, 2))
    except (ValueError, OverflowError) as error:
        raise FormatError(path, f"expected `template template label` lines: {error}") from error
    check_format(len(table), path, "is empty")
    valid = (table >= 0).all() and np.isin(table[:, 2], (0, 1)).all()
    check_format(valid, path, "templates must be numbers above 0, labels must be 0 or 1")
    return TemplatePairs(table[:, 0], table[:, 1], table[:, 2] == 1)


def read_enrolled(path: StrPath) -> Enrolled:
    """Read a gallery or probe `.csv`: a header, then `template,subject,...` rows."""
    rows = [line.split(",") for line in read_lines(path)[1:]]
    for number, row in enumerate(rows, 2):
        check_format(len(row) >= 2, path, f"line {number}: expected `template,subject,...`")
    check_format(rows, path, "holds no template")
    table = np.stack((_integers(path, rows, 0), _integers(path, rows, 1)), axis=1)
    table = np.unique(table, axis=0)
    check_format(len(np.unique(table[:, 0])) == len(table), path, "a template has two subjects")
    return Enrolled(table[:, 0], table[:, 1])


def _fields(path: StrPath, count: int) -> list[list[str]]:
    rows = [split_fields(line, count) for line in read_lines(path)]
    for number, row in enumerate(rows, 1):
        message = f"line {number}: expected {count} fields, got {len(row)}"
        check_format(len(row) == count, path, message)
    check_format(rows, path, "is empty")
    return rows


def _integers(path: StrPath, rows: list[list[str]], column: int) -> Ints:
    for number, row in enumerate(rows, 1):
        valid = is_count(row[column])
        check_format(valid, path, f"row {number}: expected a number, got {row[column]!r}")
    return np.array([int(row[column]) for row in rows], dtype=np.int64)
