"""Intervals of every report's numbers and of differences, against SciPy and literal repetition."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pair_cases import as_pairs, pair_case
from scipy import stats

from fairloss.data import contiguous_folds
from fairloss.evaluation import (
    MegaFace,
    PairSet,
    RocCorners,
    SortedScores,
    all_pairs,
    compare_groups,
    compare_megaface,
    compare_pairs,
    compare_rfw,
    compare_scores,
    evaluate_groups,
    evaluate_pairs,
    evaluate_rfw,
    fold_accuracy,
    identity_folds,
    pair_scores,
)
from fairloss.evaluation.groups import GroupStatistics
from fairloss.evaluation.rfw import RfwStatistics
from fairloss.evaluation.statistics import compare


def at_place(report, place):
    for key in place:
        report = report[key]
    return report


@pytest.mark.parametrize("levels", [2, 10, 10**6])
def test_corners_have_the_numbers_of_the_whole_curve(levels):
    generator = np.random.default_rng(levels)
    for pairs in (6, 30, 500):
        genuine = generator.random(pairs) < 0.3
        genuine[:2] = True, False
        noise = generator.normal(size=pairs) + genuine
        scores = (np.round(noise * levels) / levels).astype(np.float32)
        weights = generator.integers(0, 3, pairs).astype(float)
        weights[:2] = 1
        whole = SortedScores(scores, genuine).roc(weights)
        corners = RocCorners(scores, genuine).roc(weights)
        assert corners.auc() == pytest.approx(whole.auc())
        assert corners.eer() == pytest.approx(whole.eer())
        for far in (0.5, 0.1, 0.03, 0.01):
            assert corners.tar_at(far) == whole.tar_at(far)
        for far, tar, threshold in zip(*corners, strict=True):
            accepted = weights * (scores >= threshold)
            assert tar == pytest.approx(accepted[genuine].sum() / weights[genuine].sum())
            assert far == pytest.approx(accepted[~genuine].sum() / weights[~genuine].sum())
    assert RocCorners([1.0, 0.0], [1, 0]).roc(np.array([0.0, 1.0])) is None


def folded_people(identities=20, photos=4, seed=0):
    generator = np.random.default_rng(seed)
    people = np.repeat(np.arange(identities), photos)
    centers = generator.normal(size=(identities, 6))[people]
    return centers + generator.normal(size=centers.shape), people


def test_accuracy_over_folds_of_all_pairs_has_an_interval():
    embeddings, people = folded_people()
    report = evaluate_pairs(embeddings, people, folds=4, replicates=200)
    found = report["accuracy"]
    assert found["value"] == report["fold_accuracy"]["mean"]
    # the same from copies of the people drawn, each in the fold of its original
    fold, pairs = identity_folds(people, 4), all_pairs(people)
    scores = pair_scores(embeddings, pairs)
    generator, expected = np.random.default_rng(0), []
    for _ in range(200):
        drawn = generator.integers(20, size=20)
        rows = np.concatenate([np.flatnonzero(people == person) for person in drawn])
        copy = np.repeat(np.arange(20), 4)
        copied = all_pairs(copy)
        apart = people[rows][copied.first] != people[rows][copied.second]
        kept = copied[np.flatnonzero(copied.genuine | apart)]
        values = pair_scores(embeddings[rows], kept)
        try:
            expected.append(fold_accuracy(values, kept, fold[rows], 4).mean)
        except ValueError:  # a fold without impostors: left out of the mean by ours
            expected.append(np.nan)
    low, high = np.nanquantile(expected, (0.025, 0.975))
    assert np.isfinite(expected).mean() > 0.8
    assert found["low"] == pytest.approx(low, abs=0.006)
    assert found["high"] == pytest.approx(high, abs=0.006)
    assert fold_accuracy(scores, pairs, fold, 4).mean == found["value"]


def test_difference_of_accuracies_of_all_pairs():
    embeddings, people = folded_people()
    worse = embeddings + 1.5 * np.random.default_rng(1).normal(size=embeddings.shape)
    found = compare_pairs(worse, embeddings, people, replicates=50)
    gain = found["difference"]["accuracy"]
    assert gain["value"] == pytest.approx(found["b"]["accuracy"] - found["a"]["accuracy"])
    assert gain["low"] > 0
    few = compare_pairs(worse[:12], embeddings[:12], people[:12], replicates=5)
    assert few["difference"]["accuracy"].startswith("not measurable with 3 identities")


def test_paired_difference_agrees_with_scipy():
    # One genuine pair a person; impostors all at 0, so the AUC is the share of genuine above 0.
    generator = np.random.default_rng(0)
    genuine = np.arange(400) % 2 == 0
    people = np.where(np.repeat(genuine, 2), np.arange(800) // 2, np.arange(800) + 5000)
    ease = generator.normal(size=400) + 0.3
    a, b = (np.where(genuine, ease + 0.5 * generator.normal(size=400), 0) for _ in range(2))
    pairs, fold = as_pairs(genuine), contiguous_folds(400)
    found = compare_scores(a, b, pairs, fold, people, replicates=1000)["difference"]["auc"]
    above_a, above_b = ((scores[genuine] > 0).astype(float) for scores in (a, b))
    expected = stats.bootstrap(
        (above_a, above_b),
        lambda x, y, axis: y.mean(axis) - x.mean(axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=0,
    ).confidence_interval
    width = expected.high - expected.low
    assert found["value"] == pytest.approx(above_b.mean() - above_a.mean())
    assert found["low"] == pytest.approx(expected.low, abs=0.12 * width)
    assert found["high"] == pytest.approx(expected.high, abs=0.12 * width)
    apart = stats.bootstrap((above_a,), np.mean, n_resamples=999, method="percentile", rng=0)
    low, high = apart.confidence_interval
    assert width < 1.2 * (high - low)  # unpaired: sqrt(2) times as wide


def challenge(rank, person, score=0.5, distractors=1000):
    """A result of one probe for each trial and 20 kept impostors."""
    trials = len(rank)
    return MegaFace(
        rank=np.asarray(rank, dtype=np.int64),
        score=np.full(trials, score, dtype=np.float32),
        identity=np.asarray(person, dtype=np.int64),
        impostor=np.zeros(20, dtype=np.float32),
        probes=1000,
        distractors=distractors,
    )


def test_rank_10_agrees_with_scipy():
    generator = np.random.default_rng(0)
    person = np.repeat(np.arange(60), generator.integers(1, 6, 60))
    hard = generator.random(60)[person]
    a, b = (challenge((generator.exponential(30, len(person)) * hard), person) for _ in range(2))
    hits = [np.bincount(person, each.rank < 10) for each in (a, b)]
    options = {"paired": True, "vectorized": True, "n_resamples": 4000, "method": "percentile"}
    sizes = np.bincount(person).astype(float)
    alone = stats.bootstrap(
        (hits[1], sizes), lambda h, n, axis: h.sum(axis) / n.sum(axis), rng=0, **options
    ).confidence_interval
    both = stats.bootstrap(
        (*hits, sizes), lambda x, y, n, axis: (y - x).sum(axis) / n.sum(axis), rng=0, **options
    ).confidence_interval
    report = b.report(replicates=4000)
    assert report["rank_10"]["value"] == (b.rank < 10).mean() == b.recall()[9]
    difference = compare_megaface(a, b, replicates=4000)["difference"]
    for found, expected in ((report["rank_10"], alone), (difference["rank_10"], both)):
        width = expected.high - expected.low
        assert found["low"] == pytest.approx(expected.low, abs=0.06 * width)
        assert found["high"] == pytest.approx(expected.high, abs=0.06 * width)


def test_megaface_by_hand():
    # Person 0 has three trials of ranks 0, 4 and 12, person 1 has one of rank 20.
    found = challenge([0, 4, 12, 20], [0, 0, 0, 1])
    assert found.weighted(np.array([2.0, 2, 2, 1])) == {
        ("rank_1",): 2 / 7,
        ("rank_10",): 4 / 7,
        ("tar",): 1.0,
    }
    interval = found.report(replicates=400)["rank_10"]
    # draws: person 0 twice 2/3, one of each 2/4, person 1 twice 0
    assert (interval["value"], interval["low"]) == (0.5, 0.0)
    assert interval["high"] == pytest.approx(2 / 3)
    few = compare_megaface(*(challenge([0, 1], [0, 1], distractors=9) for _ in "ab"), replicates=9)
    assert few["difference"]["tar"] == "not measurable with 9000 impostors"


def grouped(noise, seed=0):
    generator = np.random.default_rng(seed)
    people = np.repeat(np.arange(30), 4)
    group = np.where(people < 18, "many", np.where(people < 29, "few", "one"))
    embeddings = generator.normal(size=(30, 8))[people] + noise * generator.normal(size=(120, 8))
    pairs = all_pairs(people)
    return pair_scores(embeddings, pairs), pairs, people, group


@pytest.mark.parametrize("seed", range(3))
def test_weights_of_groups_are_repetitions(seed):
    scores, pairs, people, group = grouped(1.3)
    within = np.flatnonzero(group[pairs.first] == group[pairs.second])
    scores, pairs, label = scores[within], pairs[within], group[pairs.first[within]]
    drawn = np.bincount(np.random.default_rng(seed).integers(30, size=30), minlength=30)
    weights = drawn[people[pairs.first]] * np.where(pairs.genuine, 1, drawn[people[pairs.second]])
    again = np.repeat(np.arange(len(scores)), weights)
    expected = GroupStatistics(scores[again], pairs.genuine[again], label[again], 0.01).point
    found = GroupStatistics(scores, pairs.genuine, label, 0.01).weighted(weights.astype(float))
    assert ("groups", "few", "at_common_threshold", "far") in found
    for place, value in found.items():
        assert value == pytest.approx(at_place(expected, place))


def test_groups_have_intervals_and_differences():
    scores, pairs, people, group = grouped(1.5)
    better = grouped(0.9)[0]
    options = {"far": 0.05, "replicates": 60}
    report = evaluate_groups(scores, pairs, people, group, **options)
    for place in (
        ("mean_eer",),
        ("std_eer",),
        ("skewed_error_ratio",),
        ("groups", "many", "at_common_threshold", "far"),
        ("groups", "few", "at_common_threshold", "tar"),
    ):
        number = at_place(report, place)
        assert number["low"] <= number["value"] <= number["high"]
        assert number["low"] < number["high"]
    found = compare_groups(scores, better, pairs, people, group, **options)
    assert json.loads(json.dumps(found)) == found
    gain = found["difference"]["groups"]["many"]["at_common_threshold"]["tar"]
    assert gain["low"] > 0
    gain = found["difference"]["mean_eer"]
    assert gain["high"] < 0
    assert gain["value"] == pytest.approx(found["b"]["mean_eer"] - found["a"]["mean_eer"])
    assert found["difference"]["groups"]["one"] == {
        "reason": "not measurable with 0 impostors, 6 genuine"
    }


def subset(noise, start, pairs=200):
    embeddings, genuine = pair_case(pairs, 12, noise, start)
    people = np.where(np.repeat(genuine, 2), np.arange(2 * pairs) // 2, np.arange(2 * pairs) + 9999)
    return PairSet(embeddings, as_pairs(genuine), contiguous_folds(pairs, 2), people)


def test_rfw_difference():
    poor = {name: subset(2.0, n) for n, name in enumerate(("African", "Asian"))}
    good = {name: subset(1.2, n) for n, name in enumerate(("African", "Asian"))}
    found = compare_rfw(poor, good, replicates=40)
    assert json.loads(json.dumps(found)) == found
    for place in (("mean",), ("std",), ("subsets", "Asian", "accuracy"), ("skewed_error_ratio",)):
        gain = at_place(found["difference"], place)
        assert gain["value"] == pytest.approx(
            at_place(found["b"], place) - at_place(found["a"], place)
        )
    assert found["difference"]["mean"]["low"] > 0
    same = compare_rfw(good, dict(reversed(good.items())), replicates=5)["difference"]
    assert same["subsets"]["Asian"]["auc"]["high"] == same["mean"]["high"] == 0
    perfect = {name: subset(0.0, 3) for name in good}
    ratio = compare_rfw(perfect, perfect, replicates=5)["difference"]["skewed_error_ratio"]
    assert ratio == "not measurable: a subset has no error"
    with pytest.raises(ValueError, match="not so in 'Asian'"):
        compare_rfw(poor, {**good, "Asian": subset(1.2, 1, pairs=100)})


def test_rfw_is_the_mean_of_its_subsets_draws():
    subsets = {name: subset(2.0, n) for n, name in enumerate(("African", "Asian"))}
    statistics = RfwStatistics(subsets)
    ones = statistics.weighted(np.ones(400))
    for place, value in ones.items():
        assert value == pytest.approx(at_place(statistics.point, place))
    weights = np.random.default_rng(0).integers(0, 3, 400).astype(float)
    found = statistics.weighted(weights)
    accuracies = [found["subsets", name, "accuracy"] for name in subsets]
    assert found["mean",] == pytest.approx(np.mean(accuracies))
    assert found["std",] == pytest.approx(np.std(accuracies))
    first_only = np.concatenate((weights[:200], np.ones(200)))
    changed = statistics.weighted(first_only)
    assert changed["subsets", "African", "auc"] == found["subsets", "African", "auc"]
    assert changed["subsets", "Asian", "auc"] == ones["subsets", "Asian", "auc"]
    # the subsets are drawn apart, so their variances add up
    report = evaluate_rfw(subsets, replicates=300)
    widths = [s["accuracy"]["high"] - s["accuracy"]["low"] for s in report["subsets"].values()]
    width = report["mean"]["high"] - report["mean"]["low"]
    assert width == pytest.approx(np.sqrt(np.square(widths).sum()) / 2, rel=0.15)


def test_what_no_replicate_defines_says_so():
    class Never:
        def __init__(self):
            reason = "not measurable with 3 people"
            self.point = {"number": 0.5, "text": reason, "tar": {"0.1": 0.25}}

        def weighted(self, weights):
            return {("number",): None, ("tar", "0.1"): 0.25}

    found = compare(Never(), Never(), lambda s: {place: None for place in s(np.ones(1))})
    assert found["difference"] == {
        "number": "not measurable: undefined on every replicate",
        "text": "not measurable with 3 people",
        "tar": {"0.1": "not measurable: undefined on every replicate"},
    }
