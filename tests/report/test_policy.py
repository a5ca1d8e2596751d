from __future__ import annotations

from pathlib import Path

from fairloss.agent import Policy
from fairloss.report import write_report

MEASURED = {
    "reward": "own_and_common",
    "visits": {"legal_pairs": 90, "smallest": 0, "few": 60, "threshold": 3},
    "chains": {"count": 1, "agreement": None, "chance": None, "correlation": None},
    "permutation": {"advantage": 0.2, "p": 0.4, "permutations": 199},
    "effects": {"own": 0.1, "own_error": 0.05, "common": -0.3, "common_error": 0.1},
    "reduces_to": "always raise",
    "exact": {"largest_gap": 0.01, "disagreements": 2},
}


def test_evidence_of_a_policy_is_shown(training: Path) -> None:
    raising = Policy.constant("raise")
    provenance = {"evidence": MEASURED}
    policy = Policy(raising.grid, raising.table, raising.q, raising.visits, provenance)
    policy.save(training / "policy.json")
    page = write_report(training).read_text(encoding="utf-8")
    few = "60 of 90 pairs of state and action have fewer than 3 visits"
    for text in (
        "always raise",
        "not measurable with 1 chain",
        "+0.100, standard error 0.050",
        "-0.300, standard error 0.100",
        "2 states decided otherwise",
        f"Little evidence: {few}; permuted changes do as well (p = 0.4)",
    ):
        assert text in page
