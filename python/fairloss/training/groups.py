"""The table of groups of classes, with their margins and angles, for the log of a run."""

from typing import Any

import numpy as np
from torch import Tensor

from fairloss.agent import GroupState
from fairloss.agent.state import BINS
from fairloss_ext import ClassStatistics


def group_table(
    statistics: ClassStatistics,
    margins: Tensor,
    count_cuts: tuple[float, float] | None = None,
) -> list[dict[str, Any]]:
    """Return the nine groups (count bin x variance bin) with mean margin and angles in radians.

    Classes with one image are left out of the intra-class angle: theirs is 0 by definition. Without
    variances there are three groups, the count bins, whose variance bin is None.

    Args:
        statistics: of the training set, or its counts.
        margins: () or (C,), of the epoch that was trained.
        count_cuts: those of the head; by default terciles, as the head's.
    """
    groups = GroupState(statistics.count.numpy(), count_cuts=count_cuts)
    variance_bins = groups.variance_bins(statistics.intra_variance.numpy())
    measured = not statistics.intra_variance.isnan().all()
    class_margins = np.broadcast_to(margins.double().cpu().numpy(), groups.counts.shape)
    table = []
    for count_bin in range(BINS):
        for variance_bin in range(BINS) if measured else (None,):
            members = (groups.count_bins == count_bin) & (groups.counts > 0)
            if variance_bin is not None:
                members &= variance_bins == variance_bin
            several = members & (groups.counts > 1)
            table.append(
                {
                    "count_bin": count_bin,
                    "variance_bin": variance_bin,
                    "classes": int(members.sum()),
                    "margin": _mean(class_margins[members]),
                    "intra_angle": _mean(statistics.intra_angle.numpy()[several]),
                    "inter_angle": _mean(statistics.inter_angle.numpy()[members]),
                }
            )
    return table


def _mean(values: Any) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
