"""Open-set identification by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.embeddings import unit_embeddings
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


@pytest.mark.parametrize("chunk", [1, 7, 1024])
@pytest.mark.parametrize("dimension", [1, 3, 64, 512])
def test_a_copy_of_the_mate_under_another_name_ties_with_it(dimension, chunk):
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(151, dimension)).astype(np.float32)
    gallery[75:150] = gallery[rng.permutation(75)]
    probes = gallery[:75] + 0.7 * rng.normal(size=(75, dimension)).astype(np.float32)
    probes = np.concatenate((probes, probes[::-1], probes[::-1]))
    # each probe once with the mate, once with its copy as mate and once without
    copies = [int(np.flatnonzero((gallery[75:] == row).all(1))[0]) + 75 for row in gallery[:75]]
    identities = np.concatenate((np.arange(75), copies[::-1], np.full(75, 999)))
    search = search_gallery(gallery, np.arange(151), probes, identities, chunk)
    unit, other = (unit_embeddings(x).astype(np.float64) for x in (probes, gallery))
    mates = other[identities[:150]]
    closer = [((other - mate) @ probe > 0).sum() for probe, mate in zip(unit, mates, strict=False)]
    assert search.rank[:150].tolist() == closer
    # where the mate is first, its copy and the search without a mate have its score
    score, best = search.mate_score, search.best_other
    assert np.array_equal(score[:75], score[75:150][::-1])
    hit = search.rank[:75] == 0
    assert hit.sum() >= 5
    assert np.array_equal(score[:75][hit], best[:75][hit])
    assert np.array_equal(score[:75][hit], best[150:][::-1][hit])


def test_the_only_template_has_no_other():
    search = search_gallery([[1.0, 0.0]], [1], [[3.0, 4.0], [0.0, 1.0]], [1, 2])
    assert search.best_other.tolist() == [-np.inf, 0]
    assert search.rank.tolist() == [0, -1]
    assert search.mate_score[0] == np.float32(0.6)
