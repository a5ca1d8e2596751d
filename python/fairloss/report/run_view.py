"""The content of a run folder that a report shows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.agent import Policy
from fairloss.checks import check_integers, expect
from fairloss.io.atomic import read_text, report_malformed
from fairloss.io.json import read_json_if_exists
from fairloss.io.npz import read_npz
from fairloss.io.run_folder import RunFolder
from fairloss.typing import Bytes, Float64s, Ints

GROUPS = 9  # 3 count bins x 3 variance bins
ARM_NAMES = {"pretrain": "Pre-training", "fair": "Fair Loss", "fixed": "Fixed margin"}


@dataclass(frozen=True)
class TrainingRun:
    """One run folder of `fairloss train`.

    Attributes:
        epochs: the "epoch" lines of metrics.jsonl, ascending, one per epoch.
        counts: (C,) images per class, None without identities.json.
        config: text of config.yaml, None if there is none.
    """

    epochs: list[dict[str, Any]]
    counts: Ints | None
    config: str | None

    @property
    def count_cuts(self) -> tuple[float, float] | None:
        """Cuts between the count bins of the log; None: terciles, as of runs without any."""
        cuts = self.epochs[-1].get("count_cuts") if self.epochs else None
        return None if cuts is None else (cuts[0], cuts[1])

    def group_series(self, key: str) -> Float64s:
        """Return the (9, E) values of "margin", "intra_angle", "inter_angle" or "classes".

        Row = count bin * 3 + variance bin, column = epoch - 1; NaN where the group was empty, and
        in epochs without statistics.
        """
        series = np.full((GROUPS, self.epochs[-1]["epoch"]), np.nan)
        for line in self.epochs:
            for group in line["groups"]:
                if group["variance_bin"] is None:
                    continue
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
    probes: Bytes
    matches: Bytes


@dataclass(frozen=True)
class Run:
    """The files that a report shows; None where one is missing.

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
    """Read a demo folder or a training folder.

    Raises:
        ValueError: the folder is neither, or a file is malformed.
    """
    path = folder / "policy.json"
    policy = Policy.load(path) if path.is_file() else None
    demo = read_json_if_exists(folder / "demo.json")
    if demo is not None:
        arms = [name for name in ARM_NAMES if (folder / name / "metrics.jsonl").is_file()]
        training = {name: _read_training(folder / name) for name in arms}
        evaluation = read_json_if_exists(folder / "evaluation.json")
        return Run(demo, training, policy, evaluation, _read_queries(folder))
    expected = "a folder with demo.json (of `fairloss demo`) or metrics.jsonl (of `fairloss train`)"
    expect(
        "held_out" not in (read_json_if_exists(folder / "identities.json") or {}),
        "run",
        expected,
        f"the search {folder}; its figures are trajectory.svg and loss.svg, which `fairloss "
        f"search-loss` draws at its end; for a report train with head.loss={folder / 'loss.json'}",
    )
    expect((folder / "metrics.jsonl").is_file(), "run", expected, folder)
    return Run(None, {"run": _read_training(folder)}, policy)


def _read_training(folder: Path) -> TrainingRun:
    """Read a training run, with the last line of every epoch."""
    names = folder / "identities.json"
    identities = read_json_if_exists(names, counts=list)
    config = folder / "config.yaml"
    metrics = RunFolder(folder).metrics()
    with report_malformed(folder / "metrics.jsonl"):
        epochs = {int(line["epoch"]): line for line in metrics if line["event"] == "epoch"}
    return TrainingRun(
        epochs=[epochs[number] for number in sorted(epochs)],
        counts=None if identities is None else _counts(names, identities["counts"]),
        config=read_text(config) if config.is_file() else None,
    )


def _counts(path: Path, counts: list[Any]) -> Ints:
    with report_malformed(path):
        return check_integers("counts", counts)


def _read_queries(folder: Path) -> Queries | None:
    images = folder / "queries.npz"
    listing = read_json_if_exists(folder / "queries.json", queries=list)
    if listing is None or not images.is_file():
        return None
    queries = Queries(listing["queries"], **read_npz(images, ("probes", "matches")))
    for array in (queries.probes, queries.matches):
        expect(array.ndim >= 4, str(images), "images", f"an array of shape {array.shape}")
    with report_malformed(folder / "queries.json"):
        listed = [len(query["matches"]) for query in queries.listing]
    given = [queries.matches.shape[1]] * len(queries.probes)
    expect(listed == given, str(images), f"images for {listed} matches of queries.json", given)
    return queries
