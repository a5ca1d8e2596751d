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
