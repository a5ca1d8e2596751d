"""JSON objects that carry a version."""

import json
import os
from pathlib import Path
from typing import Any

from fairloss.io.atomic import FormatError, read_text, write_text

VERSION = 1


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object with its version atomically."""
    write_text(path, json.dumps({"version": VERSION} | value, indent=1) + "\n")


def read_json(path: Path, **entries: type) -> dict[str, Any]:
    """Return the object that `write_json` wrote.

    Args:
        path: of the file.
        **entries: those that the object must have, and their types.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is not JSON, no object, of another version, or lacks an entry.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    value = parse_json(path, read_text(path))
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise FormatError(path, f"expected a JSON object of version {VERSION}")
    for name, kind in entries.items():
        if not isinstance(value.get(name), kind):
            got = type(value[name]).__name__ if name in value else "none"
            raise FormatError(path, f'"{name}": expected a {kind.__name__}, got {got}')
    return value


def read_json_if_exists(path: Path, **entries: type) -> dict[str, Any] | None:
    """Return `read_json(path, **entries)`, or None if there is no such file."""
    return read_json(path, **entries) if path.is_file() else None


def parse_json(path: str | os.PathLike[str], text: str) -> Any:
    """Return the value of the JSON text in a file; FormatError if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of too many digits
        raise FormatError(path, f"not JSON: {error}") from error
