"""IJB: pooling, 1:1 and open-set 1:N, by hand and against literal loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from fairloss.evaluation import (
    Search,
    all_pairs,
    compare_ijb_identification,
    compare_ijb_verification,
    evaluate_ijb_identification,
    evaluate_ijb_verification,
    nearest_tar,
    pool_templates,
    search_gallery,
    verification,
)
from fairloss.evaluation.ijb import IdentificationStatistics


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


def template_pairs(people=30, templates=4, seed=0):
    """All pairs of templates, their subjects, and scores that follow the subject."""
    generator = np.random.default_rng(seed)
    subject = np.repeat(np.arange(people), templates)
    pairs = all_pairs(subject)
    ease = generator.normal(size=people)[subject[pairs.first]]
    noise = generator.normal(size=len(pairs))
    return (2 + ease) * pairs.genuine + noise, pairs, subject


def test_verification_report():
    scores, pairs, subject = template_pairs()
    report = evaluate_ijb_verification(scores, pairs, subject, replicates=30)
    assert json.loads(json.dumps(report)) == report
    expected = verification(scores, pairs.genuine)
    assert report["auc"]["value"] == pytest.approx(expected.auc)
    assert report["eer"]["value"] == pytest.approx(expected.eer)
    assert report["tar"]["0.1"]["value"] == expected.tar[0.1]
    for number in (report["auc"], report["eer"], report["tar"]["0.001"]):
        assert number["low"] < number["value"] < number["high"]
    assert report["tar"]["1e-06"].startswith("not measurable with")
    assert set(report["tar_nearest"]) == set(report["tar"])


def test_verification_redraws_the_threshold():
    # Four of 40 people are impostors to one another above everybody's mates, 24 of 3120 pairs: how
    # often they are drawn decides whether FAR 0.01 lets a mate pass, though no genuine score moves.
    subject = np.repeat(np.arange(40), 2)
    pairs = all_pairs(subject)
    alike = (subject[pairs.first] < 4) & (subject[pairs.second] < 4)
    scores = np.where(pairs.genuine, 0.5, np.where(alike, 0.9, 0.0))
    found = evaluate_ijb_verification(scores, pairs, subject, replicates=200)["tar"]["0.01"]
    assert (found["low"], found["value"], found["high"]) == (0.0, 1.0, 1.0)


def test_verification_comparison():
    scores, pairs, subject = template_pairs()
    better = scores + 0.3 * pairs.genuine
    found = compare_ijb_verification(scores, better, pairs, subject, replicates=50)
    gain = found["difference"]
    assert gain["auc"]["value"] == pytest.approx(found["b"]["auc"] - found["a"]["auc"])
    alone = evaluate_ijb_verification(scores, pairs, subject, replicates=50)["auc"]
    assert 0 < gain["auc"]["low"] < gain["auc"]["high"]
    assert gain["auc"]["high"] - gain["auc"]["low"] < (alone["high"] - alone["low"]) / 2
    assert gain["tar"]["1e-06"] == found["a"]["tar"]["1e-06"]


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
    assert report["mean"]["tpir"]["0.1"]["value"] == pytest.approx(np.mean(means))


def two_galleries(noise=0.8, seed=3):
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(60, 16))
    subject = generator.integers(60, size=400)
    jitter = generator.normal(size=(400, 16))
    searches = {
        name: search_gallery(centers[who], who, centers[subject] + noise * jitter, subject)
        for name, who in {"G1": np.arange(25), "G2": np.arange(25, 50)}.items()
    }
    return searches, subject


@pytest.mark.parametrize("seed", range(3))
def test_weights_of_probes_are_repetitions(seed):
    searches, subject = two_galleries(noise=1.2)
    drawn = np.bincount(np.random.default_rng(seed).integers(60, size=60), minlength=60)[subject]
    again = np.repeat(np.arange(400), drawn)
    repeated = {name: type(s)(*(field[again] for field in s)) for name, s in searches.items()}
    expected = IdentificationStatistics(repeated).point
    found = IdentificationStatistics(searches).weighted(drawn.astype(float))
    assert len(found) == 3 * 5
    for place, value in found.items():
        inside = expected
        for key in place:
            inside = inside[key]
        assert value == pytest.approx(inside)


def test_interval_of_the_mean_over_galleries_agrees_with_scipy():
    # One probe a person, mated in G1 or in G2: people are resampled as rows of (hit, gallery).
    hit = np.random.default_rng(0).random(120) < 0.7
    first = np.arange(120) < 60
    empty = np.zeros(120, dtype=np.float32)

    def search(mated):
        rank = np.where(mated, np.where(hit, 0, 3), -1)
        return Search(mated, rank, np.where(mated, empty, np.nan), empty)

    searches = {"G1": search(first), "G2": search(~first)}
    report = evaluate_ijb_identification(searches, np.arange(120), replicates=3000)
    found = report["mean"]["rank"]["1"]
    expected = stats.bootstrap(
        (hit.astype(float), first.astype(float)),
        lambda h, f, axis: (
            ((h * f).sum(axis) / f.sum(axis) + (h * (1 - f)).sum(axis) / (1 - f).sum(axis)) / 2
        ),
        paired=True,
        vectorized=True,
        n_resamples=3000,
        method="percentile",
        rng=0,
    ).confidence_interval
    width = expected.high - expected.low
    assert found["low"] == pytest.approx(expected.low, abs=0.06 * width)
    assert found["high"] == pytest.approx(expected.high, abs=0.06 * width)


def test_identification_comparison():
    (poor, subject), (good, _) = two_galleries(1.6), two_galleries(0.8)
    found = compare_ijb_identification(poor, good, subject, replicates=60)
    assert json.loads(json.dumps(found)) == found
    for key, at in (("rank", "1"), ("tpir", "0.1")):
        gain = found["difference"]["mean"][key][at]
        assert gain["value"] == pytest.approx(
            found["b"]["mean"][key][at] - found["a"]["mean"][key][at]
        )
        assert gain["low"] > 0
    same = compare_ijb_identification(good, good, subject, replicates=5)["difference"]
    assert same["galleries"]["G1"]["rank"]["1"]["high"] == 0
    with pytest.raises(ValueError, match="not so in 'G2'"):
        compare_ijb_identification({"G1": good["G1"]}, good, subject)
