"""Reading run folders: what `fairloss train` and `fairloss demo` leave behind."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.agent import Policy

VERSION = 1
GROUPS = 9  # 3 count bins x 3 variance bins
ARMS = ("pretrain", "fair", "fixed")
ARM_NAMES = {"pretrain": "Pre-training", "fair": "Fair Loss", "fixed": "Fixed margin"}

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainingRun:
    """One run folder of `fairloss train`.

    Attributes:
        epochs: the "epoch" lines of metrics.jsonl, ascending, one per epoch.
        counts: (C,) images per class, None without identities.json.
        config: text of config.yaml, None if there is none.
    """

    epochs: list[dict[str, Any]]
    counts: npt.NDArray[np.int64] | None
    config: str | None

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch, 0 before the first has ended."""
        return int(self.epochs[-1]["epoch"]) if self.epochs else 0

    def group_series(self, key: str) -> FloatArray:
        """(9, E) values of "margin", "intra_angle", "inter_angle" or "classes".

        Row = count bin * 3 + variance bin, column = epoch - 1; NaN where the group was empty.
        """
        series = np.full((GROUPS, self.last_epoch), np.nan)
        for line in self.epochs:
            for group in line["groups"]:
                row = group["count_bin"] * 3 + group["variance_bin"]
                series[row, line["epoch"] - 1] = np.nan if group[key] is None else group[key]
        return series


@dataclass(frozen=True)
class Queries:
    """Probe faces with their nearest gallery faces.

    Attributes:
        listing: per probe {"probe": name, "matches": [{"name", "score"}, ...]}.
        probes: (Q, c, H, W) uint8.
        matches: (Q, K, c, H, W) uint8.
    """

    listing: list[dict[str, Any]]
    probes: npt.NDArray[np.uint8]
    matches: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Run:
    """What a report can tell of; None where the file is missing.

    Attributes:
        demo: demo.json, None for a single training run.
        training: name of the arm (or "run") -> its training run.
    """

    demo: dict[str, Any] | None
    training: dict[str, TrainingRun]
    policy: Policy | None
    evaluation: dict[str, Any] | None = None
    queries: Queries | None = field(default=None, repr=False)

    @property
    def main(self) -> TrainingRun | None:
        """The training run whose margins and classes are shown."""
        return self.training.get("fair") or next(iter(self.training.values()), None)


def read_run(folder: Path) -> Run:
    """A demo folder or a training folder; ValueError if it is neither or a file is malformed."""
    policy = folder / "policy.json"
    if (folder / "demo.json").is_file():
        arms = [name for name in ARMS if (folder / name / "metrics.jsonl").is_file()]
        return Run(
            demo=_read_json(folder / "demo.json"),
            training={name: _read_training(folder / name) for name in arms},
            policy=Policy.load(policy) if policy.is_file() else None,
            evaluation=_read_json_if_there(folder / "evaluation.json"),
            queries=_read_queries(folder),
        )
    if "held_out" in (_read_json_if_there(folder / "identities.json") or {}):
        raise ValueError(
            f"run: {folder} is a search, which has no report: see trajectory.svg and loss.svg, "
            "which `fairloss search-loss` draws there at its end, or train with "
            f"head.loss={folder / 'loss.json'} and report that run"
        )
    if (folder / "metrics.jsonl").is_file():
        return Run(
            demo=None,
            training={"run": _read_training(folder)},
            policy=Policy.load(policy) if policy.is_file() else None,
        )
    raise ValueError(
        f"run: {folder} is no run folder, looked for demo.json (written by `fairloss demo`) "
        "and metrics.jsonl (written by `fairloss train`)"
    )


def _read_training(folder: Path) -> TrainingRun:
    identities = _read_json_if_there(folder / "identities.json")
    config = folder / "config.yaml"
    return TrainingRun(
        epochs=_read_epochs(folder / "metrics.jsonl"),
        counts=None if identities is None else np.array(identities["counts"], dtype=np.int64),
        config=config.read_text(encoding="utf-8") if config.is_file() else None,
    )


def _read_epochs(path: Path) -> list[dict[str, Any]]:
    """The last line of every epoch; a last line cut off by an interruption is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    epochs = {}
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}: line {number} is not JSON") from error
        if line["event"] == "epoch":
            epochs[line["epoch"]] = line
    return [epochs[number] for number in sorted(epochs)]


def _read_queries(folder: Path) -> Queries | None:
    listing, images = _read_json_if_there(folder / "queries.json"), folder / "queries.npz"
    if listing is None or not images.is_file():
        return None
    with np.load(images) as arrays:
        queries = Queries(listing["queries"], arrays["probes"], arrays["matches"])
    names = [len(query["matches"]) for query in queries.listing]
    if names != [queries.matches.shape[1]] * len(queries.probes):
        raise ValueError(f"{images}: the number of images does not agree with queries.json")
    return queries


def _read_json_if_there(path: Path) -> dict[str, Any] | None:
    return _read_json(path) if path.is_file() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise ValueError(f"{path} must be a JSON object of version {VERSION}")
    return value
