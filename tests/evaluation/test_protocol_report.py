"""The common form of all reports."""

from __future__ import annotations

import numpy as np

from fairloss.evaluation.protocol_report import Unmeasured, compare


def test_the_difference_holds_the_reason_for_a_missing_number():
    class Never:
        def __init__(self):
            reason = Unmeasured("not measurable with 3 identities")
            self.point = {"number": 0.5, "text": reason, "tar": {"0.1": 0.25}}

        def weighted(self, weights):
            return {("number",): None, ("tar", "0.1"): 0.25}

    report = compare(Never(), Never(), lambda s: {keys: None for keys in s(np.ones(1))})
    assert report["difference"] == {
        "number": "not measurable: undefined on every replicate",
        "text": "not measurable with 3 identities",
        "tar": {"0.1": "not measurable: undefined on every replicate"},
    }
