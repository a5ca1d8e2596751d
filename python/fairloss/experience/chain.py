"""A chain: fine-tuning that moves margins of cells each epoch and measures the change."""

import copy
import math
import time
from typing import Any

import numpy as np
import torch

from fairloss.agent.grid import KEEP
from fairloss.experience.experience import Experience
from fairloss.experience.layout import Cell, cells_with_images, move_all, move_one
from fairloss.experience.score import SEPARATION, Score
from fairloss.heads import FairLoss
from fairloss.io.run_folder import RunFolder
from fairloss.ranks import on_every_rank
from fairloss.training import Trainer
from fairloss.training.cost import statistics_cost
from fairloss.typing import Float64s, Ints
from fairloss_ext import ClassStatistics

Row = dict[str, Any]


class Chain:
    """Observes one transition per cell, epoch and branch (method: Fair Loss's "sample networks").

    The paper changes margins by hand, group by group, and gives no layout. Here an epoch starts
    from the margins and the network of the one before, so that a margin is one the network was
    trained with, and yields as many transitions as there are cells, those that keep included.

    Args:
        trainer: with a head of Fair Loss.
        min_cell: cells of fewer classes are dropped, and counted.
        seed: of the actions.
        layout: "chain": every cell takes the action whose (state, action) pair has the fewest
            visits; ties are drawn at random. "single": one cell raises or lowers its margin, by the
            pair with the fewest visits, and the others keep theirs. "branches": several epochs from
            the same network and batches, in the first of which all cells keep and in the others
            they move as in a chain. The network of the best is kept. One branch is a chain.
        branches: of that layout.
        score: of a branch; of equal ones the last is kept, so that margins move.
    """

    def __init__(
        self,
        trainer: Trainer,
        min_cell: int,
        seed: int,
        layout: str = "chain",
        branches: int = 1,
        score: Score = SEPARATION,
    ) -> None:
        assert isinstance(trainer.head, FairLoss)
        self.trainer, self.head = trainer, trainer.head
        self.min_cell, self.seed, self.layout = min_cell, seed, layout
        self.branches, self.score = branches if layout == "branches" else 1, score
        self.dropped, self.first_step = 0, trainer.step
        self.rows: list[Row] = []
        self.statistics = trainer.statistics()
        states = self.head.group_state(self.statistics)
        self.legal, self.counts = states.legal, states.counts
        self.visits = np.zeros(self.legal.shape, np.int64)

    def run_epoch(self, epoch: int, learning_rate: float) -> dict[str, Any]:
        """Train the branches of an epoch and keep the best; return the line for the log."""
        if self.branches == 1:
            return self._run_branch(epoch, 0, learning_rate)
        start = best = copy.deepcopy(self.trainer.state()), self.statistics
        lines: list[dict[str, Any]] = []
        scores: list[float] = []
        kept = 0
        for branch in range(self.branches):
            self._continue_from(start)
            lines.append(self._run_branch(epoch, branch, learning_rate))
            scores.append(self.score.measure(self.trainer.model, self.statistics))
            if scores[branch] >= scores[kept]:
                kept, best = branch, (copy.deepcopy(self.trainer.state()), self.statistics)
        self._continue_from(best)
        seconds = {
            name: sum(line["seconds"][name] for line in lines) for name in lines[kept]["seconds"]
        }
        return lines[kept] | {"seconds": seconds, "branch": kept, "scores": scores}

    def _continue_from(self, state: tuple[dict[str, Any], ClassStatistics]) -> None:
        trainer_state, self.statistics = state
        # An optimizer uses the tensors that it restores, and changes them.
        self.trainer.restore(copy.deepcopy(trainer_state))

    def _run_branch(self, epoch: int, branch: int, learning_rate: float) -> dict[str, Any]:
        """Move margins, train one epoch and measure; return the line for the log."""
        before = self.statistics
        cells = self._choose(self.head.states(before), epoch, branch)
        margins = self.head.margins.double().cpu().numpy().copy()
        grid = np.array(self.head.policy.grid.values)
        shared = {"mean_margin": float(margins[self.counts > 0].mean())}
        moves = sum(len(cell.classes) * (cell.action - KEEP) for cell in cells)
        shared["mean_action"] = moves / int((self.counts > 0).sum())
        for cell in cells:
            index = self.head.policy.grid.index(margins[cell.classes])
            action = np.full(len(index), cell.action)
            margins[cell.classes] = grid[self.head.policy.grid.step(index, action)]
        self.head.set_margins(margins)
        result = self.trainer.run_epoch(epoch, learning_rate)
        started = time.perf_counter()
        self.statistics = self.trainer.statistics()
        measured = time.perf_counter() - started
        after = self.head.states(self.statistics)
        shared |= {"epoch": epoch, "branch": branch, "seed": self.seed}
        for cell in cells:
            self._record(cell, before, after, shared)
        return {
            "epoch": epoch,
            "step": self.trainer.step,
            "loss": result.loss,
            "cells": len(cells),
            "seconds": {"train": result.seconds, "statistics": measured},
            "skipped": result.skipped,
        }

    def experience(self) -> Experience:
        """Return the transitions so far."""
        columns: dict[str, Any] = {}
        for name, dtype in _COLUMNS.items():
            # Chains that began before means or branches were recorded have rows without them.
            default = math.nan if dtype is np.float64 else 0
            columns[name] = np.array([row.get(name, default) for row in self.rows], dtype)
        columns["successor"] = columns["successor"].reshape(len(self.rows), len(self.legal))
        return Experience(
            grid=np.array(self.head.policy.grid.values),
            dropped=self.dropped,
            min_cell=self.min_cell,
            steps=self._steps,
            kind=self.head.kind,
            cost_steps=self._cost_steps(),
            **columns,
        )

    @property
    def _steps(self) -> int:
        """Steps in all branches."""
        return (self.trainer.step - self.first_step) * self.branches

    def _cost_steps(self) -> float:
        epochs = self._steps // self.trainer.steps_per_epoch
        scored = epochs if self.branches > 1 else 0
        passes = 1 + epochs  # one before the first epoch
        statistics = passes * statistics_cost(self.trainer)
        return self._steps + statistics + scored * self.score.cost_steps

    def save(self, folder: RunFolder, epoch: int) -> None:
        """Write all that the next epoch depends on as a checkpoint."""
        state = {"dropped": self.dropped, "rows": self.rows, "visits": torch.tensor(self.visits)}
        folder.save_checkpoint(epoch, self.trainer.state() | {"chain": state})

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint that `save` wrote."""
        on_every_rank(lambda: self._restore(state))
        self.statistics = self.trainer.statistics()

    def _restore(self, state: dict[str, Any]) -> None:
        self.trainer.restore(state)
        chain = state["chain"]
        self.dropped, self.rows = chain["dropped"], chain["rows"]
        self.visits = chain["visits"].numpy()

    def _choose(self, states: Ints, epoch: int, branch: int) -> list[Cell]:
        # of branch 0 the same draws as of [seed, epoch]: seeds are padded with zeros
        random = np.random.default_rng([self.seed, epoch, branch])
        cells = cells_with_images(states, self.counts)
        if self.layout == "single":
            large = [cell for cell in cells if len(cell.classes) >= self.min_cell]
            move_one(large, self.legal, self.visits, random)
        elif branch > 0 or self.branches == 1:
            move_all(cells, self.legal, self.visits, random)
        return cells

    def _record(self, cell: Cell, before: ClassStatistics, after: Ints, shared: Row) -> None:
        distances = [
            _inter(before, cell.classes),
            _inter(self.statistics, cell.classes),
            _intra(before, cell.classes),
            _intra(self.statistics, cell.classes),
        ]
        if len(cell.classes) < self.min_cell or not np.isfinite(distances[:2]).all():
            self.dropped += 1
            return
        self.visits[cell.state, cell.action] += 1
        fractions = np.bincount(after[cell.classes], minlength=len(self.legal))
        self.rows.append(
            {
                "state": cell.state,
                "action": cell.action,
                "successor": (fractions / len(cell.classes)).tolist(),
                "inter_before": distances[0],
                "inter_after": distances[1],
                "intra_before": distances[2],
                "intra_after": distances[3],
                "classes": len(cell.classes),
            }
            | shared
        )


_COLUMNS: dict[str, type] = {
    "state": np.int64,
    "action": np.int64,
    "successor": np.float64,
    "inter_before": np.float64,
    "inter_after": np.float64,
    "intra_before": np.float64,
    "intra_after": np.float64,
    "classes": np.int64,
    "epoch": np.int64,
    "seed": np.int64,
    "mean_action": np.float64,
    "mean_margin": np.float64,
    "branch": np.int64,
}


def _inter(statistics: ClassStatistics, classes: Ints) -> float:
    return float(statistics.inter_angle.double().numpy()[classes].mean())


def _intra(statistics: ClassStatistics, classes: Ints) -> float:
    """Return the mean over classes of two images or more: a single image is its own center."""
    angle: Float64s = statistics.intra_angle.double().numpy()[classes]
    several = statistics.count.numpy()[classes] > 1
    return float(angle[several].mean()) if several.any() else math.nan
