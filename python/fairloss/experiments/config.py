"""The settings of a comparison, and the runs that they describe."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from fairloss.checks import expect
from fairloss.training import TrainConfig
from fairloss.training.build import check_parts, read_policy
from fairloss.training.config import check_settings, number, path, positive
from fairloss.training.settings import merge_settings, prepare

SMOKE_EPOCHS = 2
SET_BY_COMPARISON = ("output", "seed", "resume")


class Run(NamedTuple):
    """One run of a comparison."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder and its result."""
        return f"{self.arm}-seed-{self.seed}"


@dataclass
class CompareConfig:
    """A comparison by `fairloss compare`."""

    output: str = path()  # folder for the runs, the results and summary.json
    settings: dict[str, Any] = field(default_factory=dict)  # of every run, as of `fairloss train`
    # name -> the settings that differ; others are compared with the first
    arms: dict[str, Any] = field(default_factory=dict)
    seeds: int = number(5, 1)  # runs of each arm, with seeds seed, seed + 1, ...
    seed: int = number(0, 0)
    test: str | None = path(None)  # images of other identities; default: hold out a fifth of data
    validation: str | None = path(None)  # images of further identities, for choices among arms
    bound: float = positive(0.005)  # differences of a metric up to this size count as equal
    workers: int = number(1, 1)  # processes that train
    threads: int = number(1, 1)  # of each run; the bits of a result depend on it

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        check_settings(self)
        expect(self.arms, "arms", "one or more, such as {cosface: {head.name: CosFace}}", "none")
        for arm in self.arms:
            valid = isinstance(arm, str) and re.fullmatch(r"\w[\w.+-]*", arm)
            expect(valid, "arms", "names of letters, digits and _.+-", repr(arm))
            _check_arm(arm, self.training(Run(arm, self.seed)))
        data = {self.training(Run(arm, self.seed)).data for arm in self.arms}
        expected = "a folder, as arms with different data would hold out different identities"
        expect(self.test is not None or len(data) == 1, "test", expected, "none")

    @property
    def runs(self) -> list[Run]:
        """All runs, seed by seed."""
        seeds = range(self.seed, self.seed + self.seeds)
        return [Run(arm, seed) for seed in seeds for arm in self.arms]

    def training(self, run: Run) -> TrainConfig:
        """Return the settings of a run; ValueError naming the arm where they do not fit."""
        output = Path(self.output) / "runs" / run.name
        fixed = {"output": str(output), "seed": run.seed}
        parts = {"settings": self.settings, f"arms.{run.arm}": self.arms[run.arm]}
        for name, part in parts.items():
            expect(isinstance(part, dict), name, "settings such as {epochs: 20}", repr(part))
            for setting in SET_BY_COMPARISON:
                what = f"no {setting}, which the comparison sets"
                expect(setting not in part, name, what, repr(part.get(setting)))
        try:
            return prepare(merge_settings(TrainConfig, *parts.values(), fixed))
        except ValueError as error:
            raise ValueError(f"arms.{run.arm}: {error}") from error

    def result_path(self, run: Run) -> Path:
        """Return the path of the result of a run, which exists when it is finished."""
        return Path(self.output) / "results" / f"{run.name}.json"


def _check_arm(arm: str, training: TrainConfig) -> None:
    """Raise ValueError for a network or head that could not be built when the run begins."""
    try:
        check_parts(training, read_policy(training.head))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"arms.{arm}: {error}") from error


def smoke(config: CompareConfig) -> CompareConfig:
    """Return a comparison of every arm with one seed and few epochs, in a folder beside it."""
    arms = {}
    for run in replace(config, seeds=1).runs:
        warmup = min(config.training(run).optimizer.warmup, SMOKE_EPOCHS / 2)
        few = {"epochs": SMOKE_EPOCHS, "optimizer.warmup": warmup}
        arms[run.arm] = config.arms[run.arm] | few
    return replace(config, output=f"{Path(config.output)}-smoke", seeds=1, arms=arms)
