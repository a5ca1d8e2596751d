"""Helpers of the readers of text and JSON files, whose errors name the file."""

import json
import os
from typing import Any

from fairloss.io.atomic import FormatError, read_text

StrPath = str | os.PathLike[str]


def check_format(valid: object, path: StrPath, problem: str) -> None:
    """Raise FormatError naming the file unless `valid` is true."""
    if not valid:
        raise FormatError(path, problem)


def read_lines(path: StrPath, errors: str = "surrogateescape") -> list[str]:
    """Return the lines of a text file that are not blank, without surrounding white space."""
    lines = map(str.strip, read_listing(path, errors).split("\n"))
    return [line for line in lines if line]


def read_listing(path: StrPath, errors: str = "surrogateescape") -> str:
    """Return a text file that names files: like their names, it need not be UTF-8."""
    text = read_text(path, errors)
    check_format("\0" not in text, path, "not a text file")
    return text


def split_fields(line: str, *counts: int) -> list[str]:
    """Return the fields of a line: at tabs if that gives one of `counts`, else at white space.

    Names may hold spaces in lines with tabs.
    """
    fields = [field.strip() for field in line.split("\t") if field.strip()]
    return fields if len(fields) in counts else line.split()


def read_json_object(path: StrPath) -> dict[str, Any]:
    """Return a JSON object without a version of ours; FormatError for anything else."""
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of too many digits
        raise FormatError(path, f"not JSON: {error}") from error
    check_format(isinstance(value, dict), path, "expected a JSON object")
    return dict(value)


def is_count(field: str) -> bool:
    """Return True for a number without sign of at most 9 digits; longer ones are damage."""
    return field.isascii() and field.isdigit() and len(field) <= 9
