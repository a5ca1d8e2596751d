from __future__ import annotations

from pathlib import Path

from policy_cases import measured_policy

from fairloss.report import write_report


def test_evidence_of_a_policy_is_shown(training: Path) -> None:
    measured_policy().save(training / "policy.json")
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
