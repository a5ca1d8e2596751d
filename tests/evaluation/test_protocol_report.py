"""The common form of all reports."""

from __future__ import annotations

import numpy as np

from fairloss.evaluation.influence import share_function
from fairloss.evaluation.protocol_report import Unmeasured, compare, trial_sampling


def test_the_difference_holds_the_reason_for_a_missing_number():
    class Never:
        def __init__(self):
            reason = Unmeasured("not measurable with 3 identities")
            self.point = {"number": 0.5, "tar": {"0.1": reason}}
            self.influences = {("number",): share_function(np.arange(4) < 2)}

        def weighted(self, weights):
            return {("number",): 0.5}

    report = compare([Never()], [Never()], trial_sampling(np.arange(4), 0, 0))
    assert report["difference"]["tar"] == {"0.1": "not measurable with 3 identities"}
    assert report["difference"]["number"]["value"] == 0
    assert "bootstrap" not in report["difference"]["number"]
    assert report["warnings"] == ["4 identities: intervals from fewer than 50 may be too narrow"]


def test_influences_of_a_model_are_made_once():
    class Counted:
        point = {"a": 0.5, "b": 0.25}  # noqa: RUF012
        made = 0

        @property
        def influences(self):
            self.made += 1
            hits = (np.arange(8) < 4, np.arange(8) < 2)
            return {(name,): share_function(hit) for name, hit in zip("ab", hits, strict=True)}

        def weighted(self, weights):
            return {("a",): 0.5, ("b",): 0.25}

    models = [Counted() for _ in range(4)]
    compare(models[:2], models[2:], trial_sampling(np.arange(8), 0, 0))
    assert [model.made for model in models] == [1] * 4
