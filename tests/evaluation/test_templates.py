"""Pooling of templates, by hand and against literal loops."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.evaluation import pool_templates


def literal_pooling(features, template, media, score):
    """Template by template and medium by medium, as the published description reads."""
    pooled = []
    for t in np.unique(template):
        total = 0
        for m in np.unique(media[template == t]):
            medium = (template == t) & (media == m)
            total = total + (features[medium] * score[medium, None]).mean(axis=0)
        pooled.append(total / np.linalg.norm(total))
    return np.array(pooled)


def test_pooling_agrees_with_loops():
    generator = np.random.default_rng(0)
    template, media = generator.integers(3, 40, 300), generator.integers(7, size=300)
    features, score = generator.normal(size=(300, 6)), generator.uniform(0.1, 1, 300)
    pooled = pool_templates(features, template, media, score)
    np.testing.assert_array_equal(pooled.number, np.unique(template))
    np.testing.assert_allclose(
        pooled.features, literal_pooling(features, template, media, score), atol=1e-6
    )
    assert pooled.rows([template[5]]).tolist() == [np.searchsorted(pooled.number, template[5])]
    with pytest.raises(ValueError, match="got template 2 "):
        pooled.rows([template[0], 2])
    with pytest.raises(ValueError, match="template: expected 300 entries, as embeddings, got 299"):
        pool_templates(features, template[:-1], media)


def test_pooling_by_hand():
    # Template 8: a video (medium 1) of two frames and a photograph (medium 2).
    features = np.array([[2, 0], [4, 0], [0, 1], [0, 7]], dtype=float)
    pooled = pool_templates(features, [8, 8, 8, 9], [1, 1, 2, 1], [1, 0.5, 2, 1])
    # the video's mean is (2 + 4 x 0.5) / 2 = 2, the photograph 1 x 2
    np.testing.assert_allclose(pooled.features, [[2**-0.5, 2**-0.5], [0, 1]], atol=1e-6)
