"""Verification over all pairs in blocks, against the one that holds all scores."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.evaluation import (
    all_pairs,
    pair_scores,
    streamed_pairs,
    streamed_verification,
    unit_embeddings,
    verification,
)

FARS = (1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0)


def check_same(embeddings, identities):
    """Compare at fixed FARs, and at those of 1, 2, ... impostor pairs with a rounding error."""
    pairs = all_pairs(identities)
    impostor = int((~pairs.genuine).sum())
    fars = (*FARS, *(np.arange(1, 200) / impostor * (1 - 1e-12)))
    whole = verification(pair_scores(embeddings, pairs), pairs.genuine, far=fars)
    streamed = streamed_verification(embeddings, identities, fars)
    assert streamed.tar == whole.tar
    assert streamed.auc == pytest.approx(whole.auc, rel=1e-12)
    assert (streamed.genuine, streamed.impostor) == (whole.genuine, impostor)


@pytest.mark.parametrize("block", [1, 100, 2**22])
@pytest.mark.parametrize("size", [2, 33, 128])
def test_the_metrics_are_those_of_all_scores(monkeypatch, block, size):
    monkeypatch.setattr(streamed_pairs, "BLOCK", block)
    generator = np.random.default_rng([block, size])
    identities = generator.integers(0, 30, 200).astype(str)
    check_same(generator.normal(size=(200, size)), identities)


def test_copies_of_images_tie_as_in_all_scores():
    """Also where the product of a unit vector with itself is rounded to above 1."""
    embeddings = np.tile(np.random.default_rng(0).normal(size=(100, 100)), (3, 1))
    unit = unit_embeddings(embeddings)
    assert np.einsum("pd,pd->p", unit, unit).max() > 1
    check_same(embeddings, np.arange(300) % 40)  # copies of one identity and of two


def test_ties_count_half_in_the_auc_and_are_accepted_together():
    """Both genuine scores are 1/2, and so are two impostor scores of four; the others are 0."""
    embeddings = [[1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [1, 1, -1, -1]]
    result = streamed_verification(embeddings, ["a", "a", "b", "b"], [0.2, 0.25, 0.5])
    assert result == (0.75, {0.2: None, 0.25: 0.0, 0.5: 1.0}, 2, 4)


@pytest.mark.parametrize(
    ("count", "identities", "message"),
    [
        (3, [0, 1, 2], "identities: expected at least one .*, got 0 genuine and 3 impostor pairs"),
        (3, [0, 0, 0], "identities: expected at least one .*, got 3 genuine and 0 impostor pairs"),
        (3, [0, 0], "embeddings: expected 2 rows, as identities, got 3"),
    ],
)
def test_sets_that_do_not_fit_are_refused(count, identities, message):
    with pytest.raises(ValueError, match=message):
        streamed_verification(np.eye(3)[:count], identities)
