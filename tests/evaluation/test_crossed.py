from __future__ import annotations

import numpy as np
import pytest
from planted_arms import planted_scores
from sklearn.metrics import roc_auc_score

from fairloss.evaluation import all_pairs, crossed_mean, identity_contributions, log_odds_auc, roc
from fairloss.evaluation.roc import Roc


def table(generator, deviations, shape, draws):
    seeds, identities = shape
    by_seed, by_identity, by_both = deviations
    return (
        by_seed * generator.normal(size=(draws, seeds, 1))
        + by_identity * generator.normal(size=(draws, 1, identities))
        + by_both * generator.normal(size=(draws, seeds, identities))
    )


def test_the_parts_of_a_table_computed_by_hand():
    # Row means 2, 4; column means 1, 5, 3; residuals 0, -1, 1 and 0, 1, -1.
    result = crossed_mean([[0, 3, 3], [2, 7, 3]])
    assert result.value == 3
    assert result.seeds_variance == pytest.approx(2 / 2)
    assert result.identities_variance == pytest.approx(4 / 3)
    assert result.interaction_variance == pytest.approx(4 / 2 / 6)
    assert result.variance == pytest.approx(2)
    # Satterthwaite: 2^2 / (1^2 / 1 + (4/3)^2 / 2 + (1/3)^2 / 2)
    assert result.degrees_of_freedom == pytest.approx(4 / (1 + 8 / 9 + 1 / 18))


def test_one_kind_of_effect_has_the_variance_of_a_simple_mean():
    effects = np.random.default_rng(0).normal(size=7)
    for values in (np.tile(effects[:, None], (1, 4)), np.tile(effects, (4, 1))):
        result = crossed_mean(values)
        assert result.variance == pytest.approx(effects.var(ddof=1) / 7)
        assert result.degrees_of_freedom == pytest.approx(6)


@pytest.mark.parametrize(
    "deviations", [(1, 0, 0.1), (0, 1, 0.1), (1, 1, 0.1), (0.3, 0.3, 1), (0.5, 0, 1), (0, 0, 1)]
)
def test_intervals_cover_the_mean_over_new_seeds_and_identities(deviations):
    from scipy.stats import t

    draws = 1000
    tables = table(np.random.default_rng(1), deviations, (5, 10), draws)
    results = [crossed_mean(values) for values in tables]
    half = t.isf(0.025, [r.degrees_of_freedom for r in results])
    inside = np.abs([r.value for r in results]) <= half * np.sqrt([r.variance for r in results])
    assert 0.93 <= inside.mean() <= 0.995  # standard error 0.007


def test_contributions_have_the_statistic_as_their_mean():
    pairs, identities, scores = planted_scores((0.96,), 1, np.random.default_rng(0))
    scores = scores[0, 0]
    contributions = identity_contributions(scores, pairs, identities, Roc.auc)
    assert contributions.mean() == pytest.approx(roc_auc_score(pairs.genuine, scores))
    rest = (identities[pairs.first] != 3) & (identities[pairs.second] != 3)
    higher = roc_auc_score(pairs.genuine[rest], scores[rest]) > contributions.mean()
    assert (contributions[3] < contributions.mean()) == higher


def test_contributions_give_the_spread_of_the_statistic_over_new_identities():
    generator = np.random.default_rng(2)
    drawn, estimated = [], []
    for _ in range(100):
        pairs, identities, scores = planted_scores((0.96,), 1, generator)
        values = identity_contributions(scores[0, 0], pairs, identities, log_odds_auc)
        drawn.append(values.mean())
        estimated.append(values.var(ddof=1) / len(values))
    # The jackknife does not underestimate (Efron and Stein); ratio of deviations.
    assert 0.85 <= np.sqrt(np.mean(estimated)) / np.std(drawn) <= 1.5


def test_log_odds_of_an_auc():
    genuine = np.array([True, True, False, False])
    assert log_odds_auc(roc([4, 2, 3, 1], genuine)) == pytest.approx(np.log(3))
    perfect, reversed_order = roc([4, 3, 2, 1], genuine), roc([1, 2, 3, 4], genuine)
    assert np.isfinite(log_odds_auc(perfect))
    assert log_odds_auc(reversed_order) == pytest.approx(-log_odds_auc(perfect))


def test_bad_tables_and_pairs_are_named():
    with pytest.raises(ValueError, match="values: expected at least 2 seeds x 2 identities, got"):
        crossed_mean([[1.0, 2.0]])
    with pytest.raises(ValueError, match="values: expected finite numbers, got"):
        crossed_mean([[1.0, 2.0], [np.nan, 1.0]])
    pairs = all_pairs([0, 0, 1, 1])
    with pytest.raises(ValueError, match="identities: expected at least 3, got 2"):
        identity_contributions(np.arange(6.0), pairs, [0, 0, 1, 1], Roc.auc)
    pairs = all_pairs([0, 0, 1, 2])
    with pytest.raises(ValueError, match="pairs: expected genuine and impostor pairs without each"):
        identity_contributions(np.arange(6.0), pairs, [0, 0, 1, 2], Roc.auc)
