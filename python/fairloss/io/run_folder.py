"""The run folder: the files of a run, and the checkpoints that it resumes from.

config.yaml, identities.json, metrics.jsonl, checkpoint-<epoch>.pt, model.pt and head.pt. Every JSON
object and checkpoint carries a version, and every file but metrics.jsonl is written atomically.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from fairloss.io.atomic import write_atomic, write_text
from fairloss.io.json import VERSION

KEPT_CHECKPOINTS = 2  # the newest, and one in case it is damaged on disk

_CHECKPOINT = re.compile(r"checkpoint-(\d+)\.pt")


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
        with (self / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; a last line cut off by an interruption is left out."""
        path = self / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        parsed = []
        for number, line in enumerate(lines):
            try:
                parsed.append(json.loads(line))
            except json.JSONDecodeError:
                if number + 1 < len(lines):
                    raise ValueError(f"{path}: line {number + 1} is not JSON") from None
        return parsed

    def forget_after(self, step: int) -> None:
        """Remove the lines of metrics.jsonl about steps that will be repeated."""
        lines = [line for line in self.metrics() if line.get("step", 0) <= step]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_text(self / "metrics.jsonl", text)

    def save_checkpoint(self, epoch: int, state: dict[str, Any]) -> None:
        """Write checkpoint-<epoch>.pt and remove all but the newest `KEPT_CHECKPOINTS`."""
        whole = {"version": VERSION, "epoch": epoch} | state
        write_atomic(self / f"checkpoint-{epoch:04d}.pt", lambda path: torch.save(whole, path))
        for old in self._checkpoints()[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the newest checkpoint, or None; ValueError if it cannot be read."""
        checkpoints = self._checkpoints()
        if not checkpoints:
            return None
        try:
            state: dict[str, Any] = torch.load(
                checkpoints[-1], map_location="cpu", weights_only=True
            )
        except Exception as error:
            raise ValueError(
                f"{checkpoints[-1]}: damaged ({error}); remove it to resume from the one before"
            ) from error
        if state.get("version") != VERSION:
            raise ValueError(
                f"{checkpoints[-1]}: version {state.get('version')}, expected {VERSION}"
            )
        return state

    def _checkpoints(self) -> list[Path]:
        matches = [m for m in map(_CHECKPOINT.fullmatch, os.listdir(self.path)) if m]
        return [self / match[0] for match in sorted(matches, key=lambda match: int(match[1]))]
