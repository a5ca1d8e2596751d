"""IJB: pooling, 1:1 and open-set 1:N, by hand and against literal loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from fairloss.evaluation import (
    evaluate_ijb_identification,
    evaluate_ijb_verification,
    nearest_tar,
    pool_templates,
    search_gallery,
)


def literal_pooling(features, template, media, score):
    """Template by template and medium by medium, as the published description reads."""
    pooled = []
    for t in np.unique(template):
        total = 0
        for m in np.unique(media[template == t]):
            chosen = (template == t) & (media == m)
            total = total + (features[chosen] * score[chosen, None]).mean(axis=0)
        pooled.append(total / np.linalg.norm(total))
    return np.array(pooled)


def test_pooling():
    generator = np.random.default_rng(0)
    template, media = generator.integers(3, 40, 300), generator.integers(7, size=300)
    features, score = generator.normal(size=(300, 6)), generator.uniform(0.1, 1, 300)
    found = pool_templates(features, template, media, score)
    np.testing.assert_array_equal(found.number, np.unique(template))
    np.testing.assert_allclose(
        found.features, literal_pooling(features, template, media, score), atol=1e-6
    )
    assert found.rows([template[5]]).tolist() == [np.searchsorted(found.number, template[5])]
    with pytest.raises(ValueError, match="template 2 has no image"):
        found.rows([template[0], 2])
    with pytest.raises(ValueError, match="one length"):
        pool_templates(features, template[:-1], media)


def test_pooling_by_hand():
    # Template 8: a video (medium 1) of two frames and a photograph (medium 2).
    features = np.array([[2, 0], [4, 0], [0, 1], [0, 7]], dtype=float)
    found = pool_templates(features, [8, 8, 8, 9], [1, 1, 2, 1], [1, 0.5, 2, 1])
    # the video's mean is (2 + 4 x 0.5) / 2 = 2, the photograph 1 x 2
    np.testing.assert_allclose(found.features, [[2**-0.5, 2**-0.5], [0, 1]], atol=1e-6)


def test_nearest_tar_is_the_published_table():
    generator = np.random.default_rng(0)
    genuine = generator.random(4000) < 0.2
    scores = (generator.normal(size=4000) + 2 * genuine).round(2)
    wanted = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
    far, tar, _ = roc_curve(genuine, scores)
    far, tar = np.flipud(far), np.flipud(tar)
    expected = {f: float(tar[np.argmin(np.abs(far - f))]) for f in wanted}
    assert nearest_tar(scores, genuine, wanted) == pytest.approx(expected)


def test_verification_report():
    generator = np.random.default_rng(0)
    subject = generator.integers(30, size=2000)
    genuine = generator.random(2000) < 0.3
    scores = generator.normal(size=2000) + 2 * genuine
    report = evaluate_ijb_verification(scores, genuine, subject, replicates=30)
    assert json.loads(json.dumps(report)) == report
    assert report["tar_interval"]["0.1"]["value"] == report["tar"]["0.1"]
    assert report["tar"]["1e-06"].startswith("not measurable with")
    assert "1e-06" not in report["tar_interval"]
    assert set(report["tar_nearest"]) == set(report["tar"])


def at(*degrees):
    angle = np.radians(degrees)
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def test_search_by_hand():
    gallery = at(0, 90, 200)
    probes = at(10, 50, 95, 260, 130)
    subjects = [1, 1, 2, 9, 8]  # 9 and 8 are not enrolled
    found = search_gallery(gallery, [1, 2, 3], probes, subjects, chunk=2)
    assert found.mated.tolist() == [True, True, True, False, False]
    assert found.rank.tolist() == [0, 1, 0, -1, -1]  # at 50 degrees, 90 is closer than 0
    degrees = np.degrees(np.arccos(found.best_other.clip(-1, 1)))
    np.testing.assert_allclose(degrees, [80, 40, 95, 60, 40], atol=0.01)
    # FPIR 0.5 lets one unmated probe pass, the one at 40 degrees: the threshold is above cos 60
    tpir, threshold = found.tpir_at(0.5)
    assert tpir == pytest.approx(2 / 3)
    assert np.degrees(np.arccos(threshold)) == pytest.approx(60, abs=0.01)
    assert found.tpir_at(0.4) is None  # two unmated probes: nothing below 0.5 can be measured
    assert found.tpir_at(1.0)[0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="enrolled twice"):
        search_gallery(gallery, [1, 2, 2], probes, subjects)


def test_all_scores_equal():
    found = search_gallery(np.ones((3, 2)), [1, 2, 3], np.ones((6, 2)), [1, 2, 3, 7, 8, 9])
    assert found.rank.tolist() == [0, 0, 0, -1, -1, -1]
    # one of three unmated probes may pass, but equal scores pass together: none does
    assert found.tpir_at(0.34)[0] == 0.0


def test_identification_against_brute_force():
    generator = np.random.default_rng(3)
    centers = generator.normal(size=(60, 16))
    galleries = {"G1": np.arange(0, 25), "G2": np.arange(25, 50)}
    subject = generator.integers(60, size=400)
    probes = centers[subject] + 0.8 * generator.normal(size=(400, 16))
    searches = {
        name: search_gallery(centers[who], who, probes, subject) for name, who in galleries.items()
    }
    report = evaluate_ijb_identification(searches, subject, replicates=20)
    assert json.loads(json.dumps(report)) == report
    unit = probes / np.linalg.norm(probes, axis=1, keepdims=True)
    means = []
    for name, who in galleries.items():
        enrolled = centers[who] / np.linalg.norm(centers[who], axis=1, keepdims=True)
        score = unit @ enrolled.T
        mated = np.isin(subject, who)
        best, highest = who[score.argmax(axis=1)], score.max(axis=1)
        found = report["galleries"][name]
        assert found["rank"]["1"]["value"] == pytest.approx((best == subject)[mated].mean())
        order = np.argsort(-score, axis=1)[:, :5]
        top5 = (who[order] == subject[:, None]).any(axis=1)[mated].mean()
        assert found["rank"]["5"]["value"] == pytest.approx(top5)
        unmated = score[~mated].max(axis=1)
        for fpir in (0.01, 0.1):
            cuts = np.sort(highest)
            allowed = [c for c in cuts if (unmated >= c).mean() <= fpir]
            tpir = max(
                ((best == subject) & (score.max(axis=1) >= c))[mated].mean() for c in allowed
            )
            assert found["tpir"][str(fpir)]["value"] == pytest.approx(tpir)
        means.append(found["tpir"]["0.1"]["value"])
    assert report["mean"]["tpir"]["0.1"] == pytest.approx(np.mean(means))
