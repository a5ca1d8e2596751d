"""The run folder: the files of a run, and the checkpoints that it resumes from.

config.yaml, identities.json, metrics.jsonl, checkpoints, model.pt and head.pt. Every JSON object
and checkpoint carries a version, and every file but metrics.jsonl is written atomically.

checkpoint-<epoch>.pt is written after an epoch, and checkpoint-<epoch>-<step>.pt in it, after a
step of the run: their names sort by their age. Several ranks write a folder of such a name without
.pt; all of them call what reads or writes checkpoints, and the first one alone writes the rest.
"""

import json
import os
import re
import shutil
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from fairloss.io.atomic import FormatError, read_text, report_failure, report_malformed, write_text
from fairloss.io.divided import read_divided, remove, shared_read, write_divided
from fairloss.io.json import VERSION
from fairloss.io.state import read_state, write_state
from fairloss.ranks import num_ranks, on_every_rank, on_first_rank, rank_number

KEPT_CHECKPOINTS = 2  # the newest, and one in case it is damaged on disk

_CHECKPOINT = re.compile(r"checkpoint-(\d+)(?:-(\d+))?(?:\.pt)?")


class RunFolder:
    """The folder of one run.

    Args:
        path: of the folder, which is made if it does not exist.
        keep_checkpoints: number of the newest checkpoints that stay when another is written.
    """

    def __init__(
        self, path: str | os.PathLike[str], keep_checkpoints: int = KEPT_CHECKPOINTS
    ) -> None:
        self.path, self.keep_checkpoints = Path(path), keep_checkpoints
        with report_failure(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def log(self, event: str, **values: Any) -> None:
        """Append one line to metrics.jsonl."""
        if rank_number() != 0:
            return
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

    def forget_after(self, step: int, epoch: int | None = None) -> None:
        """Remove the lines of metrics.jsonl about what will be repeated; all ranks call this.

        Args:
            step: the last one that will not be.
            epoch: the last one whose end will not be; None: the end belongs to the last step.
        """
        on_first_rank(lambda: self._forget_after(step, epoch))

    def _forget_after(self, step: int, epoch: int | None) -> None:
        lines = [
            line
            for line in self.metrics()
            if line.get("step", 0) <= step
            and (epoch is None or not _ends_epoch(line) or line.get("epoch", 0) <= epoch)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_text(self / "metrics.jsonl", text)

    def save_checkpoint(self, epoch: int, state: dict[str, Any], step: int | None = None) -> None:
        """Write a checkpoint and remove all but the newest `keep_checkpoints`.

        Args:
            epoch: the last finished one.
            state: all that training depends on.
            step: of the run, if the checkpoint is one inside the next epoch.
        """
        whole = {"version": VERSION, "epoch": epoch} | state
        name = f"{epoch:04d}" if step is None else f"{epoch + 1:04d}-{step:08d}"
        if num_ranks() > 1:
            write_divided(self / f"checkpoint-{name}", whole)
        else:
            write_state(self / f"checkpoint-{name}.pt", whole)
        if rank_number() == 0:
            for old in self._checkpoints()[: -self.keep_checkpoints]:
                remove(old)

    @property
    def begun(self) -> bool:
        """True if there is a checkpoint to resume from."""
        return bool(self._checkpoints())

    def load_checkpoint(self, previous: bool | None = None) -> dict[str, Any] | None:
        """Return the newest checkpoint, or None if there is none.

        Args:
            previous: replace damaged ones by the newest before them, and append `.damaged` to their
                names; None: there is no such setting.

        Raises:
            FormatError: naming the newest, if it or, with `previous`, every one is damaged.
        """
        checkpoints = on_first_rank(lambda: self._checkpoints()[::-1])
        damages: list[FormatError] = []
        for path in checkpoints:
            try:
                state = _read(path)
            except FormatError as error:
                damages.append(error)
                if not previous:
                    break
                continue
            on_every_rank(partial(_check_version, path, state))
            on_first_rank(lambda: _mark_damaged(damages))
            return state
        on_every_rank(lambda: _report(damages, checkpoints, previous))
        return None

    def report_malformed_checkpoint(self) -> AbstractContextManager[None]:
        """Raise FormatError naming the newest checkpoint where an entry of it does not fit."""
        return report_malformed(self._checkpoints()[-1])

    def _checkpoints(self) -> list[Path]:
        """Return the paths of the checkpoints, the oldest first."""
        matches = filter(None, map(_CHECKPOINT.fullmatch, os.listdir(self.path)))
        ages = {match[0]: (int(match[1]), float(match[2] or "inf")) for match in matches}
        return [self / name for name in sorted(ages, key=ages.__getitem__)]


def _read(path: Path) -> dict[str, Any]:
    if path.suffix:
        several = num_ranks() > 1  # each of which copies its rows alone
        return shared_read(path, lambda: read_state(path, mapped=several))
    return read_divided(path)


def _check_version(path: Path, state: dict[str, Any]) -> None:
    valid = state.get("version") == VERSION and isinstance(state.get("epoch"), int)
    if not valid:
        raise FormatError(path, f"expected a checkpoint of version {VERSION}")


def _mark_damaged(damages: list[FormatError]) -> None:
    for damage in damages:
        target = Path(f"{damage.path}.damaged")
        if target.is_dir():  # of the same epoch, which was damaged twice; a file is replaced
            shutil.rmtree(target)
        os.rename(damage.path, target)


def _report(damages: list[FormatError], checkpoints: list[Path], previous: bool | None) -> None:
    """Raise FormatError naming the newest checkpoint, unless nothing is damaged."""
    if not damages:
        return
    if len(damages) == len(checkpoints):
        names = "it" if len(damages) == 1 else "all checkpoints"
        remedy = f"remove {names} to begin anew"
    else:
        remedy = "remove it" if previous is None else "give resume=previous, or remove it,"
        remedy += f" to resume from {checkpoints[1].name}"
    problem = f"damaged ({damages[0].problem}); {remedy}"
    raise FormatError(checkpoints[0], problem) from damages[0]


def _ends_epoch(line: dict[str, Any]) -> bool:
    return line.get("event") in ("epoch", "evaluation")
