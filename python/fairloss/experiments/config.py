"""The settings of a comparison, and the runs that they describe."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from fairloss.checks import expect
from fairloss.experiments.choices import check_choices
from fairloss.experiments.measure import metric_names
from fairloss.training import TrainConfig
from fairloss.training.build import check_parts, read_policy
from fairloss.training.config import check_settings, number, path, positive
from fairloss.training.settings import map_paths, merge_settings, prepare

SMOKE_EPOCHS = 2
SETS = ("test", "validation", "closed")
HEAD_FILES = ("policy", "margins", "loss")
INIT_FILES = ("model.pt", "head.pt")
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
    arms: dict[str, Any] = field(default_factory=dict)  # name -> the settings that differ
    # name -> {among: arms, by: seeds or stages}: arms that train nothing, see `choices.derive`
    choices: dict[str, Any] = field(default_factory=dict)
    # [arm, reference] pairs to compare; default: every arm with the first
    contrasts: list[list[str]] = field(default_factory=list)
    decide: list[str] = field(default_factory=list)  # metrics with a decision; default: the primary
    seeds: int = number(5, 1)  # runs of each arm, with seeds seed, seed + 1, ...
    seed: int = number(0, 0)
    fewer_seeds: dict[str, int] = field(default_factory=dict)  # arm -> runs, where not all seeds
    test: str | None = path(None)  # images of other identities; default: hold out a fifth of data
    validation: str | None = path(None)  # images of further identities, for choices among arms
    closed: str | None = path(None)  # other images of the identities of data, to classify
    stages: list[float] = field(  # fractions of the epochs, after which validation is measured too
        default_factory=list, metadata={"range": {"low": 0, "open_low": True, "high": 1}}
    )
    bound: float = positive(0.005)  # differences of a metric up to this size count as equal
    workers: int = number(1, 1)  # processes that train
    threads: int = number(1, 1)  # of each run; the bits of a result depend on it

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        check_settings(self)
        one = "one folder for all seeds, without {seed}"
        expect("{seed}" not in str(self.output), "output", one, self.output)
        expect(self.arms, "arms", "one or more, such as {cosface: {head.name: CosFace}}", "none")
        for arm in self.arms:
            valid = isinstance(arm, str) and re.fullmatch(r"\w[\w.+-]*", arm)
            expect(valid, "arms", "names of letters, digits and _.+-", repr(arm))
            _check_arm(arm, self.training(Run(arm, self.seed)))
        self._check_fewer_seeds()
        ascending = sorted(set(self.stages))
        expect(self.stages == ascending, "stages", "ascending fractions", self.stages)
        expect(not self.stages or self.validation, "validation", "a folder for the stages", "none")
        data = {str((self.settings | arm).get("data")) for arm in self.arms.values()}
        expected = "a folder, as arms with different data would hold out different identities"
        expect(self.test is not None or len(data) == 1, "test", expected, "none")
        self._check_choices()
        self._check_decisions()

    def _check_fewer_seeds(self) -> None:
        for arm, seeds in self.fewer_seeds.items():
            expect(arm in self.arms, "fewer_seeds", f"arms of {', '.join(self.arms)}", arm)
            fewer = type(seeds) is int and 1 <= seeds <= self.seeds
            expect(fewer, f"fewer_seeds.{arm}", f"1 to seeds={self.seeds}", seeds)

    def _check_choices(self) -> None:
        """Raise ValueError for choices that could not be computed at the end."""
        check_choices(self.choices, self.arms)
        validated = not self.choices or self.validation is not None
        expect(validated, "validation", "a folder to choose among arms by", "none")
        rules = {choice["by"] for choice in self.choices.values()}
        several = "seeds" not in rules or self.seeds > 1
        expect(several, "seeds", "2 or more to choose by the other seeds", self.seeds)
        staged = "stages" not in rules or self.stages
        expect(staged, "stages", "fractions such as [0.15, 0.5] to choose by", self.stages)

    def _check_decisions(self) -> None:
        """Raise ValueError for contrasts and decisions that could not be computed at the end."""
        names = (*self.arms, *self.choices)
        for pair in self.contrasts:
            valid = len(set(pair)) == len(pair) == 2 and set(pair) <= set(names)
            expect(valid, "contrasts", f"pairs [arm, reference] of {', '.join(names)}", pair)
        twice = [pair for pair in self.contrasts if self.contrasts.count(pair) > 1]
        expect(not twice, "contrasts", "every pair once", twice)
        sets = [part for part in SETS if part == "test" or getattr(self, part) is not None]
        metrics = [name for part in sets for name in metric_names(part)]
        unknown = [metric for metric in self.decide if metric not in metrics]
        expect(not unknown, "decide", f"metrics of {', '.join(metrics)}", unknown)

    @property
    def pairs(self) -> list[list[str]]:
        """The arms that are compared, each with its reference."""
        first, *others = (*self.arms, *self.choices)
        return self.contrasts or [[arm, first] for arm in others]

    @property
    def runs(self) -> list[Run]:
        """All runs, seed by seed."""
        return [
            Run(arm, self.seed + number)
            for number in range(self.seeds)
            for arm in self.arms
            if number < self.fewer_seeds.get(arm, self.seeds)
        ]

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
            training = merge_settings(TrainConfig, *parts.values(), fixed)
            return prepare(map_paths(training, lambda path: with_seed(path, run.seed)))
        except ValueError as error:
            raise ValueError(f"arms.{run.arm}: {error}") from error

    def set_paths(self, seed: int) -> dict[str, str | None]:
        """Return the folder of each of the `SETS` for a seed."""
        paths = {part: getattr(self, part) for part in SETS}
        return {part: path and with_seed(path, seed) for part, path in paths.items()}

    def check_files(self, run: Run) -> None:
        """Raise ValueError for a folder or file of a run that is missing."""
        training = self.training(run)
        paths = {"data": training.data, "init": training.init} | self.set_paths(run.seed)
        paths |= files_beside_images(training)
        paths |= {f"evaluate[{number}]": file for number, file in enumerate(training.evaluate)}
        for name, file in paths.items():
            exists = file is None or Path(file).exists()
            expect(exists, f"arms.{run.arm}: {name}", "a file or folder of each seed", file)

    def result_path(self, run: Run) -> Path:
        """Return the path of the result of a run, which exists when it is finished."""
        return Path(self.output) / "results" / f"{run.name}.json"


def files_beside_images(training: TrainConfig) -> dict[str, str | None]:
    """Return the files by which a run begins with other weights, margins or actions."""
    paths = {f"head.{name}": getattr(training.head, name) for name in HEAD_FILES}
    paths["init_backbone"] = training.init_backbone
    if training.init is not None:
        paths |= {f"init/{name}": str(Path(training.init) / name) for name in INIT_FILES}
    return paths


def with_seed(path: str, seed: int) -> str:
    """Return a path with `{seed}` replaced."""
    return path.replace("{seed}", str(seed))


def _check_arm(arm: str, training: TrainConfig) -> None:
    """Raise ValueError for a network or head that could not be built when the run begins."""
    try:
        check_parts(training, read_policy(training.head))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"arms.{arm}: {error}") from error


def smoke(config: CompareConfig) -> CompareConfig:
    """Return a comparison of every arm with one seed and few epochs, in a folder beside it.

    It has no choices, which take several seeds or stages.
    """
    arms = {}
    for run in replace(config, seeds=1).runs:
        warmup = min(config.training(run).optimizer.warmup, SMOKE_EPOCHS / 2)
        few = {"epochs": SMOKE_EPOCHS, "optimizer.warmup": warmup}
        arms[run.arm] = config.arms[run.arm] | few
    output = f"{Path(config.output)}-smoke"
    return replace(
        config, output=output, seeds=1, arms=arms, fewer_seeds={}, choices={}, contrasts=[]
    )
