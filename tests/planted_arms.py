"""Scores of two arms, several seeds each, on the same photos, with known AUCs.

A score is the sum of a level, effects of both identities and of both photos, and noise, all normal.
Part of every effect is common to all networks, as all see the same photos; part belongs to an arm;
the rest to a network. Over new identities, photos and networks both kinds of scores are normal, so
the AUC is Phi(level / deviation of the difference of a genuine and an impostor score).

The defaults resemble the demo: 10 identities with 10 photos, an AUC of 0.96, and log-odds of the
AUC that differ between two seeds of two arms by a deviation of 0.3.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from fairloss.evaluation import all_pairs, compare_seeds, identity_contributions, log_odds_auc

IDENTITIES, PHOTOS = 10, 10
GENUINE, IMPOSTOR, PHOTO, NOISE = 0.08, 0.05, 0.04, 0.07  # deviations of the effects
DEVIATION = (GENUINE**2 + 2 * IMPOSTOR**2 + 4 * PHOTO**2 + 2 * NOISE**2) ** 0.5
COMMON = 0.93  # share of the variance of an effect that all networks have in common


def planted_scores(aucs, seeds, generator, arm_share=0.0):
    """Return pairs, the identity of each photo, and (arms, seeds, P) scores with these AUCs.

    `arm_share` of the variance of the effects belongs to an arm and not to the seed.
    """
    identities = np.repeat(np.arange(IDENTITIES), PHOTOS)
    pairs = all_pairs(identities)
    shares = np.sqrt([COMMON, arm_share, 1 - COMMON - arm_share])
    shapes = ((1, 1), (len(aucs), 1), (len(aucs), seeds))

    def effect(deviation, size):
        return deviation * sum(
            share * generator.normal(size=(*shape, size))
            for share, shape in zip(shares, shapes, strict=True)
        )

    level = DEVIATION * np.array([NormalDist().inv_cdf(auc) for auc in aucs])
    genuine, impostor = effect(GENUINE, IDENTITIES), effect(IMPOSTOR, IDENTITIES)
    photo, noise = effect(PHOTO, len(identities)), effect(NOISE, len(pairs))
    i, j = identities[pairs.first], identities[pairs.second]
    same = level[:, None, None] + genuine[..., i]
    other = impostor[..., i] + impostor[..., j]
    scores = photo[..., pairs.first] + photo[..., pairs.second] + noise
    return pairs, identities, scores + np.where(pairs.genuine, same, other)


def planted_contributions(aucs, seeds, generator, arm_share=0.0):
    """Return (arms, seeds, identities) contributions to the log-odds of the AUC."""
    pairs, identities, scores = planted_scores(aucs, seeds, generator, arm_share)
    return np.array(
        [
            [identity_contributions(row, pairs, identities, log_odds_auc) for row in arm]
            for arm in scores
        ]
    )


def verdicts(aucs, seeds, draws, bound, arm_share=0.0):
    """Return the verdicts of `draws` comparisons of two arms with these AUCs."""
    generator = np.random.default_rng([seeds, draws])
    comparisons = [
        compare_seeds(*planted_contributions(aucs, seeds, generator, arm_share), bound)
        for _ in range(draws)
    ]
    return [comparison.verdict for comparison in comparisons]
