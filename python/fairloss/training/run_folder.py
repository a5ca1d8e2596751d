"""A run folder: what a run leaves behind, and how it goes on after an interruption.

config.yaml, identities.json, metrics.jsonl, checkpoint-<epoch>.pt, model.pt and head.pt; every
JSON object and checkpoint carries a version. A file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from fairloss.files import write_whole

VERSION = 1
KEPT_CHECKPOINTS = 2  # the newest, and one in case it is damaged on disk

_CHECKPOINT = re.compile(r"checkpoint-(\d+)\.pt")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """A JSON object with its version, written whole."""
    text = json.dumps({"version": VERSION} | value, indent=1)
    write_whole(path, lambda temporary: temporary.write_text(text + "\n"))


def read_json(path: Path) -> dict[str, Any]:
    """The object that `write_json` wrote; ValueError naming the file for another version."""
    value = json.loads(path.read_text())
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise ValueError(f"{path}: not a JSON object of version {VERSION}")
    return value


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def log(self, event: str, **values: Any) -> None:
        """Append one line to metrics.jsonl."""
        line = json.dumps({"version": VERSION, "event": event} | values)
        with (self / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut off by an interruption is left out."""
        path = self / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        parsed = []
        for number, line in enumerate(lines):
            try:
                parsed.append(json.loads(line))
            except json.JSONDecodeError:
                if number + 1 < len(lines):
                    raise ValueError(f"{path}: line {number + 1} is not JSON") from None
        return parsed

    def forget_after(self, step: int) -> None:
        """Drop what metrics.jsonl says of steps that will be repeated."""
        kept = [line for line in self.metrics() if line.get("step", 0) <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_whole(self / "metrics.jsonl", lambda temporary: temporary.write_text(text))

    def save_checkpoint(self, epoch: int, state: dict[str, Any]) -> None:
        """Write checkpoint-<epoch>.pt and remove all but the newest `KEPT_CHECKPOINTS`."""
        whole = {"version": VERSION, "epoch": epoch} | state
        write_whole(self / f"checkpoint-{epoch:04d}.pt", lambda path: torch.save(whole, path))
        for old in self._checkpoints()[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint, or None; ValueError naming the file if it cannot be read."""
        found = self._checkpoints()
        if not found:
            return None
        try:
            state: dict[str, Any] = torch.load(found[-1], map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{found[-1]}: damaged ({error}); remove it to go on from the one before"
            ) from error
        if state.get("version") != VERSION:
            raise ValueError(f"{found[-1]}: version {state.get('version')}, expected {VERSION}")
        return state

    def _checkpoints(self) -> list[Path]:
        found = [p for p in self.path.glob("checkpoint-*.pt") if _CHECKPOINT.fullmatch(p.name)]
        return sorted(found, key=lambda p: int(_CHECKPOINT.fullmatch(p.name)[1]))  # type: ignore[index]
