"""Helpers of the readers of text and JSON files, whose errors name the file."""

import csv
import io
import os
import re
from typing import Any

from fairloss.io.atomic import FormatError, read_text
from fairloss.io.json import parse_json

StrPath = str | os.PathLike[str]


def check_format(valid: object, path: StrPath, problem: str) -> None:
    """Raise FormatError naming the file unless `valid` is true."""
    if not valid:
        raise FormatError(path, problem)


def read_lines(path: StrPath, errors: str = "surrogateescape") -> list[str]:
    """Return the lines of a text file that are not blank, without blanks at either end.

    Names may hold what else Python takes for an end of a line, or for white space.
    """
    lines = (line.strip(" \t") for line in read_listing(path, errors).split("\n"))
    return [line for line in lines if line]


def read_listing(path: StrPath, errors: str = "surrogateescape") -> str:
    """Return a text file that names files: like their names, it need not be UTF-8."""
    text = read_text(path, errors)
    check_format("\0" not in text, path, "not a text file")
    return text


def read_table(path: StrPath) -> list[list[str]]:
    """Return the rows of a CSV file that are not empty; FormatError if it is damaged."""
    try:
        return [row for row in csv.reader(io.StringIO(read_listing(path))) if row]
    except csv.Error as error:  # a field of more than 131,072 characters, say
        raise FormatError(path, f"not a CSV file: {error}") from error


def split_fields(line: str, *counts: int) -> list[str]:
    """Return the fields of a line: at tabs if that gives one of `counts`, else at white space.

    Names may hold spaces in lines with tabs.
    """
    fields = [field.strip() for field in line.split("\t") if field.strip()]
    return fields if len(fields) in counts else re.split("[ \t]+", line.strip(" \t"))


def read_json_object(path: StrPath) -> dict[str, Any]:
    """Return a JSON object without a version of ours; FormatError for anything else."""
    value = parse_json(path, read_text(path))
    check_format(isinstance(value, dict), path, "expected a JSON object")
    return dict(value)


def is_count(field: str) -> bool:
    """Return True for a number without sign of at most 9 digits; longer ones are damage."""
    return field.isascii() and field.isdigit() and len(field) <= 9
