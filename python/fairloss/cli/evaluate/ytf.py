"""The command `fairloss evaluate ytf`."""

from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import typer

from fairloss.cli._options import AgainstFeatures, Replicates, ReportFile, Seed
from fairloss.cli.evaluate._report import (
    evaluate_models,
    pairs_title,
    verification_rows,
    write_report,
)
from fairloss.cli.evaluate._source import index_pairs, model_sides
from fairloss.data import read_features, read_ytf_splits
from fairloss.evaluation import (
    Pairs,
    compare_scores,
    evaluate_scores,
    pairwise_frame_scores,
    video_scores,
)
from fairloss.io.output import check_output
from fairloss.typing import Float32s


def ytf(
    splits: Annotated[Path, typer.Option(help="splits.txt of the data set.")],
    features: Annotated[
        list[Path],
        typer.Option(
            help="A .npy of frames named identity/video/frame, in order of time; of several seeds "
            "with --against."
        ),
    ],
    pairwise: Annotated[
        bool, typer.Option(help="Mean similarity of first frames, not mean feature.")
    ] = False,
    against: AgainstFeatures = None,
    output: ReportFile = Path("ytf.json"),
    replicates: Replicates = 0,
    seed: Seed = 0,
) -> None:
    """Verify YouTube Faces: ten folds over pairs of videos.

    Example: `fairloss evaluate ytf --splits splits.txt --features frames.npy`
    """
    check_output(output, folder=False)
    named = read_ytf_splits(splits)
    videos = named.names()
    pairs = index_pairs(named, videos)
    report = evaluate_models(
        [
            [_score_videos(path, videos, pairs, pairwise) for path in side]
            for side in model_sides("features", features, against)
        ],
        evaluate_scores,
        compare_scores,
        pairs,
        named.fold,
        [_parent(video) for video in videos],
        replicates=replicates,
        seed=seed,
    ) | {"features": "pairwise frames" if pairwise else "mean of frames"}
    write_report(output, report, pairs_title(report), verification_rows, against)


def _score_videos(path: Path, videos: list[str], pairs: Pairs, pairwise: bool) -> Float32s:
    """Return the score of each pair of videos, from a file of frames named as their videos."""
    frames = read_features(path)
    number = {video: position for position, video in enumerate(videos)}
    video = np.array([number.get(_parent(name), -1) for name in frames.names])
    empty = sorted(set(number.values()) - set(video.tolist()))
    if empty:
        raise ValueError(
            f"features: expected a frame of each video, got none in {path} of {len(empty)} videos, "
            f"the first {videos[empty[0]]!r}"
        )
    rows = np.flatnonzero(video >= 0)
    score = pairwise_frame_scores if pairwise else video_scores
    return score(frames.embeddings[rows], video[rows], pairs)


def _parent(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")).parent)
