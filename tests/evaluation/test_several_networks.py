"""Comparisons of several networks a side, of every protocol."""

from __future__ import annotations

import numpy as np
import pytest
from several_networks import assert_difference_of_means, numbers

from fairloss.data import contiguous_folds
from fairloss.evaluation import (
    MegaFace,
    Pairs,
    PairSet,
    all_pairs,
    compare_groups,
    compare_ijb_identification,
    compare_ijb_verification,
    compare_megaface,
    compare_pair_list,
    compare_pairs,
    compare_rfw,
    compare_scores,
    evaluate_groups,
    evaluate_ijb_identification,
    evaluate_ijb_verification,
    evaluate_pair_list,
    evaluate_pairs,
    evaluate_rfw,
    evaluate_scores,
    pair_scores,
    search_gallery,
)

IDENTITY = np.repeat(np.arange(24), 4)
PAIRS = all_pairs(IDENTITY)
# of each identity two genuine pairs, and two impostor pairs with the next
FIRST = np.arange(96).reshape(24, 4)
LISTED = Pairs(
    FIRST.ravel(),
    np.concatenate((FIRST[:, [1, 0]], np.roll(FIRST, -1, axis=0)[:, [2, 3]]), axis=1).ravel(),
    np.tile([True, True, False, False], 24),
)
FOLD = contiguous_folds(96, 4)


def embeddings(network):
    """Features of more noise, or of another size, for each next network."""
    generator = np.random.default_rng(network)
    centers = np.random.default_rng(9).normal(size=(24, 12 + network))[IDENTITY]
    return centers + (1.2 + 0.3 * network) * generator.normal(size=centers.shape)


def subsets(network):
    rows = [PairSet(embeddings(network + 10 * n), LISTED, FOLD, IDENTITY) for n in range(2)]
    return dict(zip(("x", "y"), rows, strict=True))


def searches(network):
    x, probes = embeddings(network), np.arange(96) % 4 > 0
    return {
        name: search_gallery(x[4 * who], who, x[probes], IDENTITY[probes])
        for name, who in {"G1": np.arange(12), "G2": np.arange(12, 24)}.items()
    }


def challenge(network, probes=1000):
    """Return a result of which more trials fail for each next network."""
    generator = np.random.default_rng(network)
    return MegaFace(
        rank=(generator.exponential(1 + 4 * network, 96)).astype(np.int64),
        score=generator.normal(0.3 - 0.1 * network, 0.2, 96).astype(np.float32),
        identity=IDENTITY,
        impostor=np.zeros(20, dtype=np.float32),
        probes=probes,
        distractors=1000,
    )


def listed_scores(network):
    return pair_scores(embeddings(network), LISTED)


def all_scores(network):
    return pair_scores(embeddings(network), PAIRS)


PROTOCOLS = {
    "pairs": (embeddings, evaluate_pairs, compare_pairs, IDENTITY),
    "pair list": (embeddings, evaluate_pair_list, compare_pair_list, LISTED, FOLD, IDENTITY),
    "scores": (listed_scores, evaluate_scores, compare_scores, LISTED, FOLD, IDENTITY),
    "groups": (all_scores, evaluate_groups, compare_groups, PAIRS, IDENTITY, IDENTITY % 2),
    "ijb 1:1": (all_scores, evaluate_ijb_verification, compare_ijb_verification, PAIRS, IDENTITY),
    "ijb 1:N": (
        *(searches, evaluate_ijb_identification, compare_ijb_identification),
        IDENTITY[np.arange(96) % 4 > 0],
    ),
    "rfw": (subsets, evaluate_rfw, compare_rfw),
    "megaface": (challenge, MegaFace.report, compare_megaface),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_difference_is_that_of_the_means(protocol):
    network, evaluate, compare, *data = PROTOCOLS[protocol]
    models = [network(n) for n in range(4)]
    several = compare(models[2:], models[:2], *data, replicates=3)
    single = [evaluate(model, *data) for model in models]
    assert_difference_of_means(several, single[2:], single[:2])
    assert [len(several[side]["networks"]) for side in "ab"] == [2, 2]
    # one network a side is the comparison of two models, however it is passed
    two = compare(models[0], models[3], *data, replicates=3)
    assert compare(models[:1], models[3:], *data, replicates=3) == two
    assert any("bootstrap" in interval for _, interval in numbers(two["difference"]))
    with pytest.raises(ValueError, match="b: expected at least one network, got none"):
        compare(models, [], *data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_networks_vary_only_where_they_differ(protocol):
    network, evaluate, compare, *data = PROTOCOLS[protocol]
    a, b, other = (network(n) for n in (2, 0, 1))
    two, same, varied = (
        dict(numbers(compare(*sides, *data)["difference"]))
        for sides in ((a, b), ([a, a], [b, b]), ([a, a], [b, other]))
    )
    values = [dict(numbers(evaluate(each, *data))) for each in (b, other)]
    for keys, interval in same.items():
        assert interval["value"] == pytest.approx(two[keys]["value"])
        # but for the thresholds of accuracies, which are taken to differ between networks
        assert interval["standard_error"] <= two[keys]["standard_error"] * (1 + 1e-9)
        if keys[-1] != "accuracy" and keys[-1] not in ("mean", "std", "skewed_error_ratio"):
            assert interval["standard_error"] == pytest.approx(two[keys]["standard_error"])
        gap = abs(values[0][keys]["value"] - values[1][keys]["value"])
        assert varied[keys]["standard_error"] >= gap / 2 * (1 - 1e-9)  # of the mean of the two


def test_networks_on_other_data_are_named():
    first, other, shorter = challenge(0), challenge(1), challenge(1, probes=999)
    with pytest.raises(ValueError, match="a: expected the same probes and number of distractors"):
        compare_megaface([first, shorter], other)
    with pytest.raises(ValueError, match="b: expected the same probes and number of distractors"):
        compare_megaface(first, [other, shorter])
