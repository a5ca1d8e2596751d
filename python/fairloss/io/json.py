"""JSON objects that carry a version."""

import json
from pathlib import Path
from typing import Any

from fairloss.io.atomic import FormatError, read_text, write_text

VERSION = 1


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object with its version atomically."""
    write_text(path, json.dumps({"version": VERSION} | value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is not JSON, no object, or of another version.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FormatError(path, f"not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise FormatError(path, f"expected a JSON object of version {VERSION}")
    return value


def read_json_if_exists(path: Path) -> dict[str, Any] | None:
    """Return `read_json(path)`, or None if there is no such file."""
    return read_json(path) if path.is_file() else None
