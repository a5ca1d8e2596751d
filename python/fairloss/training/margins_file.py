"""Margins of classes from a file, for the head PerClass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.checks import check_file, expect
from fairloss.io.atomic import FormatError, read_text
from fairloss.io.json import parse_json
from fairloss.training.config import HeadConfig


def read_margins(config: HeadConfig, identities: Sequence[str] | None) -> list[float] | None:
    """Return the margin of each identity from `config.margins`, or None where there is no file.

    A JSON file is an object from identities to numbers, and may have more of them; a .npy file has
    one number for each, in the order of the training set (that of identities.json of a run).

    Args:
        config: of the head.
        identities: of the training set; None: they are not read yet, so only the path is checked.

    Raises:
        ValueError: the file is damaged, or lacks an identity.
        FileNotFoundError: there is no such file.
    """
    expected = "no margins, which head.margins=FILE gives"
    expect("margins" not in config.options, "head.options", expected, config.options)
    if config.margins is None:
        return None
    none = f"no margins for {config.name}, as head.name=PerClass alone takes them"
    expect(config.name == "PerClass", "head.margins", none, config.margins)
    path = Path(config.margins)
    check_file("head.margins", path)
    if identities is None:
        return None
    return _read_array(path, identities) if path.suffix == ".npy" else _read_json(path, identities)


def _read_array(path: Path, identities: Sequence[str]) -> list[float]:
    try:
        with path.open("rb") as file:
            margins = np.lib.format.read_array(file, allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise FormatError(path, f"not a .npy file of numbers: {error}") from error
    matching = margins.dtype.kind in "iuf" and margins.shape == (len(identities),)
    got = f"shape {margins.shape} {margins.dtype}"
    return [float(margin) for margin in _checked(path, matching, margins, len(identities), got)]


def _read_json(path: Path, identities: Sequence[str]) -> list[float]:
    margins = parse_json(path, read_text(path))
    got = type(margins).__name__
    margins = _checked(path, isinstance(margins, dict), margins, len(identities), got)
    for identity in identities:
        if type(margins.get(identity)) not in (int, float):
            got = repr(margins[identity]) if identity in margins else "none"
            raise FormatError(path, f"margin of {identity}: expected a number, got {got}")
    return [float(margins[identity]) for identity in identities]


def _checked(path: Path, matching: bool, margins: Any, count: int, got: str) -> Any:
    if not matching:
        raise FormatError(path, f"margins: expected those of {count} identities, got {got}")
    return margins
