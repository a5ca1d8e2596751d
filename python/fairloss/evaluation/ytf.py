"""YouTube Faces: scores of pairs of videos from features of frames."""

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_integers, check_length, expect
from fairloss.embeddings import unit_embeddings
from fairloss.evaluation.pairs import Pairs, pair_scores
from fairloss.typing import Float32s

FACENET_FRAMES = 100


def mean_of_frames(
    embeddings: npt.ArrayLike, video_of_frame: npt.ArrayLike, videos: int
) -> Float32s:
    """Average the features of all frames of each video, (V, D), not normalized.

    Features are averaged as given, so a frame of larger norm counts more; published numbers
    are made like this (method of ArcFace, CosFace, SphereFace).

    Args:
        embeddings: (N, D) features of frames, not normalized.
        video_of_frame: (N,) video number 0..V-1 of each frame.
        videos: V.

    Raises:
        ValueError: a video has no frame, or lengths differ.
    """
    features = np.asarray(embeddings)
    video = check_integers("video_of_frame", video_of_frame)
    check_length("video_of_frame", len(video), len(features), "entries, as embeddings")
    frames = np.bincount(video, minlength=videos)
    expect(
        len(frames) == videos and frames.all(),
        "video_of_frame",
        f"each of 0..{videos - 1}, and no other video",
        f"{np.count_nonzero(frames)} videos up to {len(frames) - 1}",
    )
    total = np.zeros((videos, features.shape[1]))
    np.add.at(total, video, features)
    return (total / frames[:, None]).astype(np.float32)


def video_scores(
    embeddings: npt.ArrayLike, video_of_frame: npt.ArrayLike, pairs: Pairs
) -> Float32s:
    """Return the (P,) cosines of mean features; `pairs` gives videos by number."""
    video = check_integers("video_of_frame", video_of_frame)
    videos = int(video.max(initial=-1)) + 1
    return pair_scores(mean_of_frames(embeddings, video, videos), pairs)


def pairwise_frame_scores(
    embeddings: npt.ArrayLike,
    video_of_frame: npt.ArrayLike,
    pairs: Pairs,
    frames: int = FACENET_FRAMES,
) -> Float32s:
    """Return the (P,) mean cosines over all pairs of first frames, FaceNet's variant.

    The mean of all inner products of two sets is the inner product of their means, so pairs of
    frames are not compared one by one.

    Args:
        embeddings: (N, D) features of frames, in the order of time within each video.
        video_of_frame: (N,) video number of each frame.
        pairs: P pairs of videos.
        frames: number of frames of each video, 100 in FaceNet (Schroff et al., 2015, section 5.7).
    """
    video = check_integers("video_of_frame", video_of_frame)
    order = np.argsort(video, kind="stable")
    start = np.searchsorted(video[order], video[order])
    first = order[np.arange(len(order)) - start < frames]
    unit = unit_embeddings(np.asarray(embeddings)[first])
    mean = mean_of_frames(unit, video[first], int(video.max()) + 1)
    scores = np.einsum("pd,pd->p", mean[pairs.first], mean[pairs.second])
    return np.asarray(scores.clip(-1.0, 1.0), dtype=np.float32)
