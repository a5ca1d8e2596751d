"""The rows and the comparison of the benchmark that reads records."""

from __future__ import annotations

import pytest
from records_reading import ASKED, compare, summary


def test_the_comparison_is_of_medians_and_of_rounds_by_hand():
    """300 images a second against 100, for 20 us an image against 50."""
    rounds = (
        [(300.0, 20.0), (100.0, 10.0), (500.0, 40.0)],
        [(100.0, 50.0), (90.0, 50.0), (250.0, 60.0)],
    )
    rows = [summary(name, 2, values) for name, values in zip(ASKED, rounds, strict=True)]
    unrelated = summary("folder", 2, rounds[0]), summary(ASKED[0], 3, rounds[1])
    memory = {
        ASKED[0]: {"memory_mib": 40.0, "memory_in_use_mib": 20.0},
        ASKED[1]: {"memory_mib": 60.0, "memory_in_use_mib": 50.0},
    }
    result = compare([*unrelated, *rows], 2, memory)
    assert result["images_per_second"] == 3
    assert result["by_round"] == [pytest.approx(100 / 90), 3]
    assert result["cpu_microseconds"] == 2.5
    assert (result["memory_mib"], result["memory_in_use_mib"]) == (1.5, 2.5)
