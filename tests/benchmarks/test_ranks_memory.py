from __future__ import annotations

import sys

import pytest
import ranks_memory

from fairloss.plan import PlanConfig


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peaks_and_collectives_are_beside_those_of_the_plan():
    options = {"classes": 50, "embedding_size": 16, "batch_size": 2, "device": "cpu"}
    record = ranks_memory.measure(PlanConfig(ranks=2, **options))
    assert len(record["peak_gb"]) == 2
    assert len(record["collectives"]) == 5
