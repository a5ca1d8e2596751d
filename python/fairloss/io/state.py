"""Files of tensors (.pt): state dicts and checkpoints."""

from pathlib import Path
from typing import Any

import torch

from fairloss.io.atomic import FormatError, write_atomic


def write_state(path: Path, state: Any) -> None:
    """Write tensors and plain values atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # torch's own file would not say why a write failed
            torch.save(state, file)

    write_atomic(path, write)


def read_state(path: Path) -> dict[str, Any]:
    """Return what `write_state` wrote, on the CPU; FormatError if the file holds no dict."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many types
        first_line = str(error).partition("\n")[0] or type(error).__name__
        raise FormatError(path, f"cannot be read, or damaged: {first_line}") from error
    if not isinstance(state, dict):
        raise FormatError(path, "expected a file of named tensors")
    return state
