"""Fair Loss: a margin for every class, moved after each epoch by a learnt policy."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fairloss.agent import GroupState, MarginGrid, Policy
from fairloss.heads.cosine import CosineHead
from fairloss_ext import ClassStatistics


class FairLoss(CosineHead):
    """``s cos(theta + m_y)`` or ``s (cos theta - m_y)`` with a margin of its own for each class.

    (Liu et al., ICCV 2019; the loss is eq. 43 of the survey arXiv 2212.13038.) After each epoch
    every class is in one of 36 states: bin of its image count (3), bin of its intra-class variance
    (3) and its margin (4); the policy's row for that state raises, lowers or keeps the margin. A
    class carries its margin along when it changes bin.

        head = FairLoss(num_classes, 512)
        loss = head(embeddings, labels)                    # every step
        head.end_of_epoch(fairloss_ext.class_statistics(   # every epoch, un-augmented, eval mode
            all_embeddings, all_labels, num_classes))

    Args:
        num_classes, embedding_size: C and D.
        policy: by default the table that comes with the package (see `Policy.default`); better is
            one collected on your own data.
        kind: "arc" (margins in radians) or "cos" (in cosine).
        initial_margin: on the policy's grid; 0.35 is our choice, the paper gives none.
        count_cuts: two cuts between the bins of image counts; default terciles over the classes.
        options: those of `CosineHead`.

    State (in every checkpoint): margins (C,), and the policy as extra state.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        policy: Policy | None = None,
        *,
        kind: Literal["arc", "cos"] = "arc",
        initial_margin: float = 0.35,
        count_cuts: tuple[float, float] | None = None,
        **options: Any,
    ) -> None:
        if kind not in ("arc", "cos"):
            raise ValueError(f"kind: got {kind!r}, allowed are 'arc', 'cos'")
        super().__init__(
            num_classes,
            embedding_size,
            torch.full((max(num_classes, 1),), initial_margin),
            kind=kind,
            **options,
        )
        self.policy = Policy.default() if policy is None else policy
        self.policy.grid.index(np.array([initial_margin]))  # refuses a margin off the grid
        self.count_cuts = count_cuts

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Move every margin as the policy says; classes without images keep theirs.

        Raises:
            ValueError: the statistics are of another number of classes.
        """
        state, margins = self.group_state(statistics), self.margins.double().cpu().numpy()
        moved = self.policy.apply(state.encode(_variance(statistics), margins), margins)
        self.set_margins(np.where(state.counts > 0, moved, margins))

    def group_state(self, statistics: ClassStatistics) -> GroupState:
        """How the classes of this training set map to states."""
        if len(statistics.count) != self.num_classes:
            raise ValueError(
                f"statistics: of {len(statistics.count)} classes, the head has {self.num_classes}"
            )
        return GroupState(statistics.count.cpu().numpy(), self.policy.grid, self.count_cuts)

    def states(self, statistics: ClassStatistics) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(C,) state of every class."""
        margins = self.margins.double().cpu().numpy()
        return self.group_state(statistics).encode(_variance(statistics), margins)

    def set_margins(self, margins: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Replace the margins, (C,), in place."""
        self.margins.copy_(torch.as_tensor(margins))

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "version": 1,
            "grid": list(self.policy.grid.values),
            "table": self.policy.table.tolist(),
            "provenance": self.policy.provenance,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        grid = MarginGrid(tuple(state["grid"]))
        shape = (len(state["table"]), 3)
        self.policy = Policy(
            grid,
            np.array(state["table"]),
            np.full(shape, np.nan),
            np.zeros(shape, np.int64),
            state["provenance"],
        )


def _variance(statistics: ClassStatistics) -> np.ndarray[Any, np.dtype[np.float64]]:
    variance: Tensor = statistics.intra_variance
    return variance.double().cpu().numpy()
