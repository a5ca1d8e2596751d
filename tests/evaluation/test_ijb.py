"""IJB: 1:1 verification and open-set 1:N identification, against literal loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from agreement import largest_share
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
    search_gallery,
    verification,
)
from fairloss.evaluation.ijb import IdentificationStatistics


def test_nearest_tar_is_the_published_table():
    generator = np.random.default_rng(0)
    genuine = generator.random(4000) < 0.2
    scores = (generator.normal(size=4000) + 2 * genuine).round(2)
    limits = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
    far, tar, _ = roc_curve(genuine, scores)
    far, tar = np.flipud(far), np.flipud(tar)
    expected = {f: float(tar[np.argmin(np.abs(far - f))]) for f in limits}
    assert nearest_tar(scores, genuine, limits) == pytest.approx(expected)


def template_pairs(identities=30, templates=4, seed=0):
    """All pairs of templates, their identities, and scores that follow the identity."""
    generator = np.random.default_rng(seed)
    identity = np.repeat(np.arange(identities), templates)
    pairs = all_pairs(identity)
    ease = generator.normal(size=identities)[identity[pairs.first]]
    noise = generator.normal(size=len(pairs))
    return (2 + ease) * pairs.genuine + noise, pairs, identity


def test_verification_agrees_with_single_metrics():
    scores, pairs, identity = template_pairs()
    report = evaluate_ijb_verification(scores, pairs, identity, replicates=30)
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
    # Four of 40 identities are impostors to one another above all mates, 24 of 3120 pairs: how
    # often they are drawn decides whether FAR 0.01 lets a mate pass, though no genuine score moves.
    identity = np.repeat(np.arange(40), 2)
    pairs = all_pairs(identity)
    alike = (identity[pairs.first] < 4) & (identity[pairs.second] < 4)
    scores = np.where(pairs.genuine, 0.5, np.where(alike, 0.9, 0.0))
    interval = evaluate_ijb_verification(scores, pairs, identity, replicates=200)["tar"]["0.01"]
    for ends in (interval, interval["bootstrap"]):
        assert (ends["low"], interval["value"], ends["high"]) == (0.0, 1.0, 1.0)


def test_verification_comparison_is_paired():
    scores, pairs, identity = template_pairs()
    better = scores + 0.3 * pairs.genuine
    comparison = compare_ijb_verification(scores, better, pairs, identity, replicates=50)
    gain = comparison["difference"]
    assert gain["auc"]["value"] == pytest.approx(comparison["b"]["auc"] - comparison["a"]["auc"])
    alone = evaluate_ijb_verification(scores, pairs, identity, replicates=50)["auc"]
    assert 0 < gain["auc"]["low"] < gain["auc"]["high"]
    assert gain["auc"]["high"] - gain["auc"]["low"] < (alone["high"] - alone["low"]) / 2
    assert gain["tar"]["1e-06"] == comparison["a"]["tar"]["1e-06"]


def test_identification_against_brute_force():
    generator = np.random.default_rng(3)
    centers = generator.normal(size=(60, 16))
    galleries = {"G1": np.arange(0, 25), "G2": np.arange(25, 50)}
    identity = generator.integers(60, size=400)
    probes = centers[identity] + 0.8 * generator.normal(size=(400, 16))
    searches = {
        name: search_gallery(centers[who], who, probes, identity) for name, who in galleries.items()
    }
    report = evaluate_ijb_identification(searches, identity, replicates=20)
    assert json.loads(json.dumps(report)) == report
    unit = probes / np.linalg.norm(probes, axis=1, keepdims=True)
    means = []
    for name, who in galleries.items():
        enrolled = centers[who] / np.linalg.norm(centers[who], axis=1, keepdims=True)
        score = unit @ enrolled.T
        mated = np.isin(identity, who)
        best, highest = who[score.argmax(axis=1)], score.max(axis=1)
        gallery = report["galleries"][name]
        assert gallery["rank"]["1"]["value"] == pytest.approx((best == identity)[mated].mean())
        order = np.argsort(-score, axis=1)[:, :5]
        top5 = (who[order] == identity[:, None]).any(axis=1)[mated].mean()
        assert gallery["rank"]["5"]["value"] == pytest.approx(top5)
        unmated = score[~mated].max(axis=1)
        for fpir in (0.01, 0.1):
            cuts = np.sort(highest)
            allowed = [c for c in cuts if (unmated >= c).mean() <= fpir]
            tpir = max(
                ((best == identity) & (score.max(axis=1) >= c))[mated].mean() for c in allowed
            )
            assert gallery["tpir"][str(fpir)]["value"] == pytest.approx(tpir)
        means.append(gallery["tpir"]["0.1"]["value"])
    assert report["mean"]["tpir"]["0.1"]["value"] == pytest.approx(np.mean(means))


def two_galleries(noise=0.8, seed=3):
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(60, 16))
    identity = generator.integers(60, size=400)
    jitter = generator.normal(size=(400, 16))
    searches = {
        name: search_gallery(centers[who], who, centers[identity] + noise * jitter, identity)
        for name, who in {"G1": np.arange(25), "G2": np.arange(25, 50)}.items()
    }
    return searches, identity


@pytest.mark.parametrize("seed", range(3))
def test_weights_of_probes_are_repetitions(seed):
    searches, identity = two_galleries(noise=1.2)
    drawn = np.bincount(np.random.default_rng(seed).integers(60, size=60), minlength=60)[identity]
    again = np.repeat(np.arange(400), drawn)
    repeated = {name: type(s)(*(field[again] for field in s)) for name, s in searches.items()}
    expected = IdentificationStatistics(repeated).point
    numbers = IdentificationStatistics(searches).weighted(drawn.astype(float))
    assert len(numbers) == 3 * 5
    for keys, value in numbers.items():
        inside = expected
        for key in keys:
            inside = inside[key]
        assert value == pytest.approx(inside)


def test_interval_of_the_mean_over_galleries_agrees_with_scipy():
    # One probe per identity, mated in G1 or in G2: rows of (hit, gallery) are resampled.
    hit = np.random.default_rng(0).random(120) < 0.7
    first = np.arange(120) < 60
    empty = np.zeros(120, dtype=np.float32)

    def search(mated):
        rank = np.where(mated, np.where(hit, 0, 3), -1)
        return Search(mated, rank, np.where(mated, empty, np.nan), empty)

    searches = {"G1": search(first), "G2": search(~first)}
    report = evaluate_ijb_identification(searches, np.arange(120), replicates=3000)
    interval = report["mean"]["rank"]["1"]
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
    assert interval["low"] == pytest.approx(expected.low, abs=0.06 * width)
    assert interval["high"] == pytest.approx(expected.high, abs=0.06 * width)


def test_identification_comparison_is_the_difference_of_both():
    (poor, identity), (good, _) = two_galleries(1.6), two_galleries(0.8)
    comparison = compare_ijb_identification(poor, good, identity, replicates=60)
    assert json.loads(json.dumps(comparison)) == comparison
    for key, limit in (("rank", "1"), ("tpir", "0.1")):
        gain = comparison["difference"]["mean"][key][limit]
        assert gain["value"] == pytest.approx(
            comparison["b"]["mean"][key][limit] - comparison["a"]["mean"][key][limit]
        )
        assert gain["low"] > 0
    same = compare_ijb_identification(good, good, identity, replicates=5)["difference"]
    gain, photos = same["galleries"]["G1"]["rank"]["1"], np.bincount(identity[identity < 25])
    share = largest_share(photos.sum() ** 2 / (photos @ photos), 25)
    assert -gain["low"] == gain["high"] == pytest.approx(share, rel=2e-3)
    with pytest.raises(ValueError, match="others in 'G2'"):
        compare_ijb_identification({"G1": good["G1"]}, good, identity)
