"""From lists, feature files and images to what the protocols take."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.cli.against import report_of
from fairloss.cli.source import Source
from fairloss.data import (
    NamedPairs,
    contiguous_folds,
    identity_of,
    interleaved_folds,
    read_features,
    read_pair_bin,
)
from fairloss.evaluation import (
    Pairs,
    PairSet,
    compare_pair_list,
    compare_pairs,
    evaluate_pair_list,
    evaluate_pairs,
    linked_identities,
    pairwise_frame_scores,
    video_scores,
)
from fairloss.progress import Progress


def evaluate_listed(sets: list[PairSet], replicates: int, seed: int) -> dict[str, Any]:
    """One list with one source, or with two: the second minus the first."""
    return report_of(
        [each.embeddings for each in sets],
        evaluate_pair_list,
        compare_pair_list,
        *sets[-1][1:],
        replicates=replicates,
        seed=seed,
    )


def evaluate_all_pairs(
    sources: list[Source], progress: Progress, replicates: int, seed: int
) -> dict[str, Any]:
    """Every pair of the images; with two sources, the second minus the first."""
    found = [source.identified(progress) for source in sources]
    _, people = found[-1]
    where = sources[-1].features or sources[-1].data
    most = max(Counter(people).values())
    if len(set(people)) < 2 or most < 2:
        raise ValueError(
            f"data: {where} has {len(set(people))} identities with {most} images at most; pairs "
            "need two identities, one of them with two images"
        )
    if found[0][1] != people:
        raise ValueError("against: its rows show other people, or in another order")
    models = [embeddings for embeddings, _ in found]
    return report_of(
        models, evaluate_pairs, compare_pairs, people, replicates=replicates, seed=seed
    )


def bin_sets(
    path: Path, interleave: bool, sources: list[Source], progress: Progress
) -> list[PairSet]:
    """The pairs of a `.bin` with the features of each source."""
    content = read_pair_bin(path)
    genuine = content.genuine
    rows = np.arange(2 * len(genuine))
    pairs = Pairs(rows[0::2], rows[1::2], genuine)
    people = linked_identities(content.image_numbers(), pairs)
    fold = interleaved_folds(genuine) if interleave else contiguous_folds(len(genuine))
    return [PairSet(s.of_bin(path, content, progress), pairs, fold, people) for s in sources]


def pair_set(named: NamedPairs, layout: str, source: Source, progress: Progress) -> PairSet:
    """Features, rows, folds and people of a named list."""
    names = named.names()
    place = {name: number for number, name in enumerate(names)}
    pairs = as_pairs(named, place)
    people = linked_identities([identity_of(name, layout) for name in names], pairs)
    return PairSet(source.embeddings(names, progress), pairs, named.fold, people)


def as_pairs(named: NamedPairs, place: dict[str, int]) -> Pairs:
    """Pairs of names as pairs of row numbers."""
    first, second = (np.array([place[n] for n in side]) for side in (named.first, named.second))
    return Pairs(first, second, named.genuine)


def under(folder: str, named: NamedPairs) -> NamedPairs:
    """The same pairs with their images in a folder more."""
    first, second = ([f"{folder}/{n}" for n in side] for side in (named.first, named.second))
    return NamedPairs(first, second, named.genuine, named.fold)


def scores_of_videos(path: Path, named: NamedPairs, pairwise: bool) -> npt.NDArray[np.float32]:
    """Score of each pair of videos, from a file of frames named person/video/frame."""
    found, names = read_features(path), named.names()
    place = {name: number for number, name in enumerate(names)}
    video = np.array([place.get(str(PurePosixPath(name).parent), -1) for name in found.names])
    absent = sorted(set(range(len(names))) - set(video.tolist()))
    if absent:
        raise ValueError(
            f"features: {len(absent)} videos have no frame in {path}, as {names[absent[0]]!r}"
        )
    rows = np.flatnonzero(video >= 0)
    scorer = pairwise_frame_scores if pairwise else video_scores
    return scorer(found.embeddings[rows], video[rows], as_pairs(named, place))
