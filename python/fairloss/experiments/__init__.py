"""Comparisons of losses: arms x seeds, one result a run, and paired differences."""

from fairloss.experiments.compare import Map, compare
from fairloss.experiments.config import CompareConfig, Run, smoke
from fairloss.experiments.differences import paired_differences
from fairloss.experiments.measure import METRICS, verify
from fairloss.experiments.plan import ArmPlan, Plan, plan
from fairloss.experiments.run import train_run
from fairloss.experiments.summary import summarize_results

__all__ = [
    "METRICS",
    "ArmPlan",
    "CompareConfig",
    "Map",
    "Plan",
    "Run",
    "compare",
    "paired_differences",
    "plan",
    "smoke",
    "summarize_results",
    "train_run",
    "verify",
]
