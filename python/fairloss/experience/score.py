"""Scores of branches, by which the best continuation of an epoch is kept."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import nn

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.evaluation import streamed_verification
from fairloss.experience.skewness import group_separation
from fairloss.models import embed
from fairloss.ranks import default_group, on_first_rank
from fairloss.training.cost import FORWARD_COST
from fairloss_ext import ClassStatistics

FAR = 1e-3  # at 1e-4 the TAR of a thousand identities has twice the noise


class Score(NamedTuple):
    """A score of a network and its class statistics, higher is better, and its cost in steps."""

    measure: Callable[[nn.Module, ClassStatistics], float]
    cost_steps: float


def _separation(model: nn.Module, statistics: ClassStatistics) -> float:
    return float(group_separation(statistics, np.zeros(len(statistics.count), np.int64))[0])


SEPARATION = Score(_separation, 0.0)
"""The mean inter-class less the mean intra-class distance of all classes, in radians.

Branches of an epoch start from the same distances, so that it orders them as the sum of the
changes of all classes. It needs no other images, and sees training images only.
"""


def validation_score(faces: LabeledImages, batch_size: int) -> Score:
    """Return the score by the TAR at `FAR` over all pairs of images of other identities.

    Args:
        faces: the images.
        batch_size: of training, for the cost of the forward passes.

    Raises:
        ValueError: there are no genuine pairs, or too few impostor pairs for this FAR.
    """
    genuine = int((faces.counts * (faces.counts - 1)).sum()) // 2
    impostor = len(faces) * (len(faces) - 1) // 2 - genuine
    enough = genuine > 0 and impostor * FAR >= 1
    expected = f"images with genuine pairs and {1 / FAR:.0f} impostor pairs"
    expect(enough, "validation", expected, f"{genuine} and {impostor}")

    def measure(model: nn.Module, statistics: ClassStatistics) -> float:
        group = default_group()
        embeddings = embed(model, faces, flip=False, process_group=group).cpu().numpy()

        def verify() -> float:
            tar = streamed_verification(embeddings, faces.labels.numpy(), far=[FAR]).tar[FAR]
            assert tar is not None
            return tar

        return on_first_rank(verify)

    return Score(measure, FORWARD_COST * math.ceil(len(faces) / batch_size))
