"""The verdict of a demo in words, for its page and the command line."""

import math
from collections.abc import Mapping
from typing import Any

from fairloss.evaluation.crossed import log_odds
from fairloss.evaluation.intervals import share_at

SENTENCES = {
    "ahead": "Ahead: Fair Loss is better than the fixed margin by more than counts as equal.",
    "behind": "Behind: Fair Loss is worse than the fixed margin by more than counts as equal.",
    "tie": "Tie: the difference is within what counts as equal.",
    "undecided": "Undecided: the interval does not separate better, equal and worse.",
}


def verdict_lines(demo: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    """Return sentences: the verdict, the interval, the bound and the power, and the costs.

    Args:
        demo: content of demo.json.
        evaluation: content of evaluation.json, with several seeds an arm.
    """
    steps = {phase["name"]: phase["steps"] for phase in demo["phases"]}
    seeds = len(evaluation["seeds"])
    costs = (
        f"Steps: {steps['train fair'] // seeds} for each network of either arm, "
        f"{steps['tune fixed']} to choose the fixed margin of {demo['tuning']['margin']}, "
        f"{steps['pretrain'] + steps['collect']} to learn the policy, by one collection."
    )
    result = evaluation["across_seeds"]
    if isinstance(result, str):
        return [f"No verdict: {result}.", costs]
    return [_verdict(result), *_intervals(result, evaluation), costs]


def _verdict(result: Mapping[str, Any]) -> str:
    if result["verdict"] is None:
        return f"No verdict: {result['seeds']} seeds an arm are fewer than 5."
    return SENTENCES[result["verdict"]]


def _intervals(result: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    """Translate differences of log-odds to AUCs of Fair Loss beside that of the fixed margin."""
    aucs = [report["auc"]["value"] for report in evaluation["arms"]["fixed"]]
    level = sum(map(log_odds, aucs)) / len(aucs)

    def auc(difference: float) -> str:
        return f"{share_at(level + difference):.4f}"

    bound, smallest = result["bound"], result["smallest_difference"]
    return [
        f"Where the fixed margin has its mean AUC of {auc(0)} on unseen identities, Fair Loss has "
        f"{auc(result['mean'])}, {100 * result['confidence']:.0f}% interval "
        f"[{auc(result['low'])}, {auc(result['high'])}] over other seeds and other identities.",
        f"An AUC of {auc(-bound)} to {auc(bound)} counts as equal (odds within a factor of "
        f"{math.exp(bound):.2f}). The smallest difference that this could have seen, with a power "
        f"of 80%, is an AUC of {auc(smallest)} beside {auc(0)}.",
    ]
