"""A policy with the evidence that `fairloss fit-policy` stores."""

from __future__ import annotations

from dataclasses import replace

from fairloss.agent import Policy

MEASURED = {
    "reward": "own_and_common",
    "visits": {"legal_pairs": 90, "smallest": 0, "few": 60, "threshold": 3},
    "chains": {"count": 1, "agreement": None, "chance": None, "correlation": None},
    "permutation": {"advantage": 0.2, "p": 0.4, "permutations": 199},
    "effects": {"own": 0.1, "own_error": 0.05, "common": -0.3, "common_error": 0.1},
    "reduces_to": "always raise",
    "exact": {"largest_gap": 0.01, "disagreements": 2},
}


def measured_policy():
    return replace(Policy.constant("raise"), provenance={"evidence": MEASURED})
