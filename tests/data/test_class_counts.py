"""Summaries of images per identity, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.data.class_counts import count_bars, summarize_counts


def test_a_summary_by_hand():
    summary = summarize_counts([1, 0, 3, 8, 3, 1, 8])
    assert summary["identities"] == 6
    assert summary["images"] == 24
    assert summary["empty"] == 1
    assert (summary["smallest"], summary["mean"], summary["largest"]) == (1, 4.0, 8)
    assert summary["quantiles"]["0.5"] == 3.0
    assert summary["imbalance"] == 8.0
    assert summary["single"] == 2
    assert summary["shares"] == {"head": 16 / 24, "middle": 6 / 24, "tail": 2 / 24}


def test_gini_is_the_mean_difference_over_twice_the_mean():
    counts = np.random.default_rng(0).integers(1, 50, 40)
    differences = np.abs(counts[:, None] - counts[None, :]).mean()
    assert summarize_counts(counts)["gini"] == pytest.approx(differences / (2 * counts.mean()))
    assert summarize_counts([5, 5, 5])["gini"] == 0


@pytest.mark.parametrize("counts", [[2], [1, 1, 12], [1, 2, 2, 13], [3, 50, 900, 900, 7]])
def test_bars_hold_every_identity_once(counts):
    bars = count_bars(counts)
    assert len(bars) <= 12
    for low, high, number in bars:
        assert number == sum(low <= count <= high for count in counts)
    assert sum(number for _, _, number in bars) == len(counts)
    assert (bars[0][0], bars[-1][1]) == (min(counts), max(counts))


def test_identities_without_images_alone_are_refused():
    with pytest.raises(ValueError, match="counts: expected an identity with an image, got none"):
        summarize_counts([0, 0])
