"""IJB's templates: one feature for several images and videos of a person."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.embeddings import unit_embeddings


class Templates(NamedTuple):
    """(T,) template numbers, rising, and their (T, D) unit features."""

    number: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]

    def rows(self, numbers: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Row of each template number; ValueError if one has no feature."""
        wanted = np.asarray(numbers)
        row = np.searchsorted(self.number, wanted).clip(max=len(self.number) - 1)
        unknown = self.number[row] != wanted
        if unknown.any():
            raise ValueError(
                f"template {wanted[unknown][0]} has no image ({unknown.sum()} such templates)"
            )
        return row


def pool_templates(
    embeddings: npt.ArrayLike,
    template: npt.ArrayLike,
    media: npt.ArrayLike,
    detector_score: npt.ArrayLike | None = None,
) -> Templates:
    """One feature for each template, as published: insightface's `ijb_11.py`.

    Features of image plus mirror, *not* normalised, times the detector's score; mean over the
    images of one medium (the frames of a video) within the template, sum over media, then L2.
    Norm and detector score so act as quality; normalising before pooling gives other numbers.

    Args:
        embeddings: (N, D) features, not normalised.
        template, media: (N,) integers.
        detector_score: (N,), default all 1.

    Raises:
        ValueError: lengths differ, or a template's features cancel to zero.
    """
    features = np.asarray(embeddings)
    numbers, medium = np.asarray(template), np.asarray(media)
    score = np.ones(len(features)) if detector_score is None else np.asarray(detector_score)
    if not len(features) == len(numbers) == len(medium) == len(score):
        raise ValueError(
            f"embeddings, template, media and detector_score must be of one length, got "
            f"{len(features)}, {len(numbers)}, {len(medium)} and {len(score)}"
        )
    order = np.lexsort((medium, numbers))
    pair = np.stack((numbers[order], medium[order]), axis=1)
    start = np.flatnonzero(np.append(True, (pair[1:] != pair[:-1]).any(axis=1)))
    images = np.diff(np.append(start, len(pair)))
    weighted = features[order] * score[order, None].astype(np.float64)
    per_medium = np.add.reduceat(weighted, start) / images[:, None]
    found, first = np.unique(pair[start, 0], return_index=True)
    return Templates(found, unit_embeddings(np.add.reduceat(per_medium, first)))
