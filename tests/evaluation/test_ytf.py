"""YouTube Faces: pooling frames, by hand and against comparing every pair of frames."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.evaluation import Pairs, mean_of_frames, pairwise_frame_scores, video_scores


def test_mean_of_frames_by_hand():
    features = np.array([[2, 0], [0, 4], [1, 1], [0, 2]], dtype=np.float32)
    mean = mean_of_frames(features, [0, 0, 1, 0], 2)
    np.testing.assert_allclose(mean, [[2 / 3, 2], [1, 1]], rtol=1e-6)
    pairs = Pairs(np.array([0]), np.array([1]), np.array([True]))
    expected = (2 / 3 + 2) / np.sqrt((4 / 9 + 4) * 2)
    assert video_scores(features, [0, 0, 1, 0], pairs)[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"video_of_frame: expected each of 0\.\.2"):
        mean_of_frames(features, [0, 0, 1, 0], 3)
    with pytest.raises(ValueError, match="video_of_frame: expected 4 entries"):
        mean_of_frames(features, [0, 0, 1], 2)


@pytest.mark.parametrize("frames", [1, 3, 100])
def test_pairwise_variant_compares_every_pair_of_first_frames(frames):
    generator = np.random.default_rng(0)
    video = generator.permutation(np.repeat(np.arange(5), [1, 2, 4, 6, 9]))
    features = generator.normal(size=(22, 7))
    pairs = Pairs(np.array([0, 1, 3, 2]), np.array([4, 2, 4, 3]), np.zeros(4, dtype=np.bool_))
    scores = pairwise_frame_scores(features, video, pairs, frames)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for score, first, second in zip(scores, pairs.first, pairs.second, strict=True):
        a, b = unit[video == first][:frames], unit[video == second][:frames]
        assert score == pytest.approx((a @ b.T).mean(), abs=1e-6)
