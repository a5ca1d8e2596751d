"""Open-set identification by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.evaluation import search_gallery


def unit_vectors(*degrees):
    angle = np.radians(degrees)
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def test_search_by_hand():
    gallery = unit_vectors(0, 90, 200)
    probes = unit_vectors(10, 50, 95, 260, 130)
    identities = [1, 1, 2, 9, 8]  # 9 and 8 are not enrolled
    search = search_gallery(gallery, [1, 2, 3], probes, identities, chunk=2)
    assert search.mated.tolist() == [True, True, True, False, False]
    assert search.rank.tolist() == [0, 1, 0, -1, -1]  # at 50 degrees, 90 is closer than 0
    degrees = np.degrees(np.arccos(search.best_other.clip(-1, 1)))
    np.testing.assert_allclose(degrees, [80, 40, 95, 60, 40], atol=0.01)
    # FPIR 0.5 lets one unmated probe pass, the one at 40 degrees: the threshold is above cos 60
    tpir, threshold = search.tpir_at(0.5)
    assert tpir == pytest.approx(2 / 3)
    assert np.degrees(np.arccos(threshold)) == pytest.approx(60, abs=0.01)
    assert search.tpir_at(0.4) is None  # two unmated probes: nothing below 0.5 can be measured
    assert search.tpir_at(1.0)[0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="gallery_identities: .*enrolled twice"):
        search_gallery(gallery, [1, 2, 2], probes, identities)


def test_equal_scores_of_unmated_probes_pass_together():
    search = search_gallery(np.ones((3, 2)), [1, 2, 3], np.ones((6, 2)), [1, 2, 3, 7, 8, 9])
    assert search.rank.tolist() == [0, 0, 0, -1, -1, -1]
    # one of three unmated probes may pass, but equal scores pass together: none does
    assert search.tpir_at(0.34)[0] == 0.0


@pytest.mark.parametrize(
    ("gallery", "probes", "problem"),
    [
        ([1.0, 2.0, 3.0], [1, 2], "gallery_identities: .* integers or strings, got .*float64"),
        ([1, 2], [1, 2], "gallery_identities: expected 3 entries"),
        ([1, 2, 3], [[1], [2]], r"probe_identities: .* got shape \(2, 1\)"),
        (["1", "2", "3"], [1, 2], "probe_identities: expected <U1, as gallery_identities"),
    ],
)
def test_identities_that_cannot_be_compared_are_refused(gallery, probes, problem):
    with pytest.raises(ValueError, match=problem):
        search_gallery(np.eye(3), gallery, np.eye(3)[:2], probes)
