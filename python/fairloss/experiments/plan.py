"""The runs of a comparison, and the time that is left."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fairloss.experiments.config import CompareConfig, Run
from fairloss.experiments.results import read_results
from fairloss.training.settings import prepare


@dataclass(frozen=True)
class ArmPlan:
    """The runs of an arm.

    Attributes:
        runs: their number.
        finished: those with a result.
        seconds: of a run, the mean of the finished ones; None without.
    """

    runs: int
    finished: int
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison.

    Attributes:
        arms: those of each arm.
        workers: processes that train.
    """

    arms: dict[str, ArmPlan]
    workers: int

    @property
    def runs(self) -> int:
        """Number of all runs."""
        return sum(arm.runs for arm in self.arms.values())

    @property
    def finished(self) -> int:
        """Number of runs with a result."""
        return sum(arm.finished for arm in self.arms.values())

    @property
    def seconds_left(self) -> float | None:
        """Time of the other runs by that of the finished ones; None where none is finished.

        An arm without one counts as the mean of the other arms.
        """
        measured = [arm.seconds for arm in self.arms.values() if arm.seconds is not None]
        if not measured:
            return 0.0 if self.finished == self.runs else None
        mean = fmean(measured)
        total = sum(
            (arm.runs - arm.finished) * (mean if arm.seconds is None else arm.seconds)
            for arm in self.arms.values()
        )
        return total / self.workers


def plan(config: CompareConfig) -> Plan:
    """Return what is done and what is left; nothing is written.

    Raises:
        ValueError: as `compare`.
    """
    config = prepare(config)
    return plan_after(config, read_results(config))


def plan_after(config: CompareConfig, results: Mapping[Run, Mapping[str, Any]]) -> Plan:
    """Return what is left after these results."""
    arms = {}
    runs = Counter(run.arm for run in config.runs)
    for arm in config.arms:
        seconds = [result["seconds"] for run, result in results.items() if run.arm == arm]
        arms[arm] = ArmPlan(runs[arm], len(seconds), fmean(seconds) if seconds else None)
    return Plan(arms, config.workers)
