"""IJB's templates: one feature for several images and videos of an identity."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_length
from fairloss.embeddings import unit_embeddings
from fairloss.typing import Float32s, Ints


class Templates(NamedTuple):
    """Pooled features of T templates.

    Attributes:
        number: (T,) int64, template numbers, rising.
        features: (T, D) float32, unit features.
    """

    number: Ints
    features: Float32s

    def rows(self, numbers: npt.ArrayLike) -> Ints:
        """Return the row of each template number; ValueError if one has no feature."""
        template = np.asarray(numbers)
        row = np.searchsorted(self.number, template).clip(max=len(self.number) - 1)
        unknown = template[self.number[row] != template]
        if len(unknown):
            got = f"template {unknown[0]} ({len(unknown)} such templates)"
            raise ValueError(f"numbers: expected templates with an image, got {got}")
        return row


def pool_templates(
    embeddings: npt.ArrayLike,
    template: npt.ArrayLike,
    media: npt.ArrayLike,
    detector_score: npt.ArrayLike | None = None,
) -> Templates:
    """Pool the images of each template into one feature, as insightface's `ijb_11.py`.

    Features of image plus mirror, *not* normalized, times the detector's score; mean over the
    images of one medium (the frames of a video) within the template, sum over media, then L2.
    Norm and detector score thus act as quality; normalizing before pooling gives other numbers.

    Args:
        embeddings: (N, D) features, not normalized.
        template: (N,) integers.
        media: (N,) integers, the photo or video within the template.
        detector_score: (N,), default all 1.

    Raises:
        ValueError: lengths differ, or a template's features cancel to zero.
    """
    features = np.asarray(embeddings)
    numbers, medium = np.asarray(template), np.asarray(media)
    score = np.ones(len(features)) if detector_score is None else np.asarray(detector_score)
    for name, array in (("template", numbers), ("media", medium), ("detector_score", score)):
        check_length(name, len(array), len(features), "entries, as embeddings")
    order = np.lexsort((medium, numbers))
    pair = np.stack((numbers[order], medium[order]), axis=1)
    start = np.flatnonzero(np.append(True, (pair[1:] != pair[:-1]).any(axis=1)))
    images = np.diff(np.append(start, len(pair)))
    weighted = features[order] * score[order, None].astype(np.float64)
    per_medium = np.add.reduceat(weighted, start) / images[:, None]
    number, first = np.unique(pair[start, 0], return_index=True)
    return Templates(number, unit_embeddings(np.add.reduceat(per_medium, first)))
