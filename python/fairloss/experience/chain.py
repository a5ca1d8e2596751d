"""A chain: fine-tuning that moves the margin of every cell each epoch and measures the change."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fairloss.agent.grid import KEEP
from fairloss.experience.experience import Experience
from fairloss.heads import FairLoss
from fairloss.io.run_folder import RunFolder
from fairloss.training import Trainer
from fairloss.training.cost import statistics_cost
from fairloss.typing import Float64s, Ints
from fairloss_ext import ClassStatistics

Row = dict[str, Any]


@dataclass
class Cell:
    """Classes that share a state, and the action that they take together."""

    state: int
    classes: Ints
    action: int


class Chain:
    """Observes one transition per cell and epoch (method: Fair Loss's "sample networks").

    The paper changes margins by hand, group by group, and gives no layout. Here every cell moves in
    every epoch from its current margin, so that a margin is one the network was trained with, and
    one epoch yields as many transitions as there are cells. A cell takes the action whose (state,
    action) pair has the fewest visits; ties are drawn at random.
    """

    def __init__(self, trainer: Trainer, min_cell: int, seed: int) -> None:
        assert isinstance(trainer.head, FairLoss)
        self.trainer, self.head = trainer, trainer.head
        self.min_cell, self.seed = min_cell, seed
        self.dropped, self.first_step = 0, trainer.step
        self.rows: list[Row] = []
        self.statistics = trainer.statistics()
        states = self.head.group_state(self.statistics)
        self.legal, self.counts = states.legal, states.counts
        self.visits = np.zeros(self.legal.shape, np.int64)

    def run_epoch(self, epoch: int, learning_rate: float) -> dict[str, Any]:
        """Move every margin, train one epoch and measure; return the line for the log."""
        before = self.statistics
        cells = self._choose(self.head.states(before), epoch)
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
        for cell in cells:
            self._record(cell, before, after, {"epoch": epoch, "seed": self.seed, **shared})
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
            steps=self.trainer.step - self.first_step,
            kind=self.head.kind,
            cost_steps=self._cost_steps(),
            **columns,
        )

    def _cost_steps(self) -> float:
        steps = self.trainer.step - self.first_step
        passes = 1 + steps // self.trainer.steps_per_epoch  # one before the first epoch
        return steps + passes * statistics_cost(self.trainer)

    def save(self, folder: RunFolder, epoch: int) -> None:
        """Write all that the next epoch depends on as a checkpoint."""
        state = {"dropped": self.dropped, "rows": self.rows, "visits": torch.tensor(self.visits)}
        folder.save_checkpoint(epoch, self.trainer.state() | {"chain": state})

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint that `save` wrote."""
        self.trainer.restore(state)
        chain = state["chain"]
        self.dropped, self.rows = chain["dropped"], chain["rows"]
        self.visits = chain["visits"].numpy()
        self.statistics = self.trainer.statistics()

    def _choose(self, states: Ints, epoch: int) -> list[Cell]:
        random = np.random.default_rng([self.seed, epoch])
        cells = []
        for state in np.unique(states[self.counts > 0]).tolist():
            tried = np.where(self.legal[state], self.visits[state], np.iinfo(np.int64).max)
            action = int(random.choice(np.flatnonzero(tried == tried.min())))
            classes = np.flatnonzero((states == state) & (self.counts > 0))
            cells.append(Cell(state, classes, action))
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
