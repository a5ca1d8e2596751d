"""The run folder: the files of a run, and the checkpoints that it resumes from.

config.yaml, identities.json, metrics.jsonl, checkpoint-<epoch>.pt, model.pt and head.pt. Every JSON
object and checkpoint carries a version, and every file but metrics.jsonl is written atomically.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from fairloss.io.atomic import FormatError, read_text, report_failure, write_text
from fairloss.io.json import VERSION
from fairloss.io.state import read_state, write_state

KEPT_CHECKPOINTS = 2  # the newest, and one in case it is damaged on disk

_CHECKPOINT = re.compile(r"checkpoint-(\d+)\.pt")


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with report_failure(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def log(self, event: str, **values: Any) -> None:
        """Append one line to metrics.jsonl."""
        line = json.dumps({"version": VERSION, "event": event} | values)
        path = self / "metrics.jsonl"
        with report_failure(path), path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; a last line cut off by an interruption is left out."""
        path = self / "metrics.jsonl"
        lines = read_text(path).rstrip("\n").split("\n") if path.exists() else []
        parsed = []
        for number, line in enumerate(lines, 1):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                if number < len(lines):
                    raise FormatError(path, f"line {number} is not JSON") from None
                break
            if not isinstance(value, dict):
                raise FormatError(path, f"line {number}: expected a JSON object")
            parsed.append(value)
        return parsed

    def forget_after(self, step: int) -> None:
        """Remove the lines of metrics.jsonl about steps that will be repeated."""
        lines = [line for line in self.metrics() if line.get("step", 0) <= step]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_text(self / "metrics.jsonl", text)

    def save_checkpoint(self, epoch: int, state: dict[str, Any]) -> None:
        """Write checkpoint-<epoch>.pt and remove all but the newest `KEPT_CHECKPOINTS`."""
        whole = {"version": VERSION, "epoch": epoch} | state
        write_state(self / f"checkpoint-{epoch:04d}.pt", whole)
        for old in self._checkpoints()[:-KEPT_CHECKPOINTS]:
            old.unlink()

    @property
    def begun(self) -> bool:
        """True if there is a checkpoint to resume from."""
        return bool(self._checkpoints())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the newest checkpoint, or None; ValueError if it cannot be read."""
        checkpoints = self._checkpoints()
        if not checkpoints:
            return None
        newest = checkpoints[-1]
        try:
            state = read_state(newest)
        except FormatError as error:
            before = f"resume from {checkpoints[-2].name}" if checkpoints[1:] else "begin anew"
            problem = f"damaged ({error.problem}); remove it to {before}"
            raise FormatError(newest, problem) from error
        if state.get("version") != VERSION or not isinstance(state.get("epoch"), int):
            raise FormatError(newest, f"expected a checkpoint of version {VERSION}")
        return state

    def _checkpoints(self) -> list[Path]:
        matches = [m for m in map(_CHECKPOINT.fullmatch, os.listdir(self.path)) if m]
        return [self / match[0] for match in sorted(matches, key=lambda match: int(match[1]))]
