"""Transitions observed while margins move, with the distances that rewards are computed from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.agent import EffectModel, MarginGrid, Transitions, standardized_change
from fairloss.agent.grid import KEEP
from fairloss.agent.reward import ROUNDING, center_epochs
from fairloss.agent.state import BINS
from fairloss.checks import check_choice, expect
from fairloss.data.text_files import check_format
from fairloss.io.atomic import FormatError, report_malformed, write_atomic
from fairloss.io.npz import read_npz
from fairloss.training.cost import FORWARD_COST
from fairloss.typing import Bools, Float64s, Ints

VERSION = 3
# The version that a field is in since, where that is not the first.
_SINCE = {"mean_action": 2, "mean_margin": 2, "branch": 3, "cost_steps": 3, "pretraining_steps": 3}
# Not of a transition but of all.
_SHARED = ("grid", "dropped", "min_cell", "steps", "kind", "cost_steps", "pretraining_steps")
REWARDS = ("own_and_common", "paper")


@dataclass(eq=False)
class Experience:
    """n transitions; one is a cell of classes that shared a state and took one action.

    Attributes:
        grid: (M,) margins.
        state, action: (n,) the state before the epoch, and the action (index into
            `fairloss.agent.ACTIONS`).
        successor: (n, S) fraction of the cell's classes in each state after the epoch.
        inter_before, inter_after: (n,) mean angle to the nearest other class center, radians.
        intra_before, intra_after: (n,) mean angle between sample and center, radians, over the
            classes with two images or more; NaN in a cell that has none.
        classes: (n,) classes in the cell.
        epoch, seed: (n,) of the chain, epochs counted from 1.
        mean_action: (n,) mean over all classes with images, in grid steps, in that epoch.
        mean_margin: (n,) their mean margin before the epoch. Both are those of the recorded cells
            where a file of version 1 has not stored them.
        branch: (n,) of the epoch, from 0: branches start from the same state.
        dropped: cells left out because they were smaller than `min_cell`.
        min_cell: that bound.
        steps: optimizer steps that the collection took, all chains together.
        kind: of the margins, "arc" or "cos".
        cost_steps: the cost of the collection, in which a training step is 1 and a forward-only
            batch 1/3; for files of version 1 and 2 that of a chain with images in memory.
        pretraining_steps: the same of the run that it started from, NaN where that is unknown.
    """

    grid: Float64s
    state: Ints
    action: Ints
    successor: Float64s
    inter_before: Float64s
    inter_after: Float64s
    intra_before: Float64s
    intra_after: Float64s
    classes: Ints
    epoch: Ints
    seed: Ints
    mean_action: Float64s
    mean_margin: Float64s
    branch: Ints
    dropped: int
    min_cell: int
    steps: int
    kind: str
    cost_steps: float = math.nan
    pretraining_steps: float = math.nan

    def __len__(self) -> int:
        return len(self.state)

    def __post_init__(self) -> None:
        columns = {
            "mean_action": (self.action - KEEP).astype(np.float64),
            "mean_margin": self.grid[self.state % len(self.grid)],
        }
        for name, cells in columns.items():
            given = getattr(self, name)
            if np.isnan(given).any():
                recorded = _class_means(cells, self.classes, self.epoch_labels)
                setattr(self, name, np.where(np.isnan(given), recorded, given))

    @property
    def epoch_labels(self) -> Ints:
        """(n,) labels that differ between epochs, their branches, and chains."""
        epochs, branches = (int(c.max(initial=0)) + 1 for c in (self.epoch, self.branch))
        return (self.seed * epochs + self.epoch) * branches + self.branch

    def changes(self, weights: tuple[float, float] = (1.0, 1.0)) -> Float64s:
        """Return the (n,) changes of the cells, see `fairloss.agent.standardized_change`."""
        return standardized_change(
            self.inter_before, self.inter_after, self.intra_before, self.intra_after, weights
        )

    def rewards(self, reward: str) -> Callable[[Float64s], Float64s]:
        """Return the function from changes to rewards in the same unit.

        Args:
            reward: "own_and_common", the effect of an action on its own cell and its share of that
                on all cells (see `fairloss.agent.EffectModel`), or "paper", the change less the
                mean of the epoch (see `fairloss.agent.standardized_reward`).
        """
        check_choice("reward", reward, REWARDS)
        if reward == "paper":
            return partial(center_epochs, epoch=self.epoch_labels)
        return self.effect_model().reward

    def effect_model(self) -> EffectModel:
        """Return the regression of changes on the action of a cell and the mean of all."""
        return EffectModel(
            self.state,
            self.action,
            self.classes,
            self.seed,
            self.epoch,
            self.mean_action,
            self.mean_margin,
            self.margin_grid(),
            self.branch,
        )

    def transitions(
        self, weights: tuple[float, float] = (1.0, 1.0), reward: str = "paper"
    ) -> Transitions:
        """Return transitions with rewards of standard deviation 1.

        Args:
            weights: of the inter- and the intra-class term.
            reward: see `rewards`.
        """
        values = self.rewards(reward)(self.changes(weights))
        spread = values.std()
        scaled = values / spread if spread > ROUNDING else np.zeros_like(values)
        return Transitions(self.state, self.action, scaled, self.successor)

    def margin_grid(self) -> MarginGrid:
        """Return the margins as a grid of the agent."""
        return MarginGrid(tuple(float(value) for value in self.grid))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz with a version atomically."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez_compressed(file, version=VERSION, **arrays)

        write_atomic(Path(path), write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Experience:
        """Read what `save` wrote; FormatError if the file is something else."""
        version = read_npz(path, ["version"])["version"]
        if version.shape or version not in range(1, VERSION + 1):
            raise FormatError(path, f"not an experience file of version 1 to {VERSION}")
        names = [f.name for f in fields(cls) if _SINCE.get(f.name, 1) <= version]
        arrays: dict[str, Any] = read_npz(path, names)
        _check_shapes(path, arrays)
        with report_malformed(Path(path)):
            arrays = _added(arrays) | arrays
            for name in ("dropped", "min_cell", "steps"):
                arrays[name] = int(arrays[name])
            for name in ("cost_steps", "pretraining_steps"):
                arrays[name] = float(arrays[name])
            return cls(**arrays | {"kind": str(arrays["kind"])})

    @classmethod
    def merge(cls, parts: Sequence[Experience]) -> Experience:
        """Return all transitions of several chains that started from the same run.

        Raises:
            ValueError: their grids or bounds, or the costs of their runs, differ.
        """
        first = parts[0]
        for part in parts[1:]:
            same = (part.min_cell, part.kind) == (first.min_cell, first.kind)
            same = same and np.array_equal(part.grid, first.grid)
            expect(same, "parts", "one margin grid, kind and min_cell", "several")
            costs = first.pretraining_steps, part.pretraining_steps
            one_run = np.array_equal(*costs, equal_nan=True)
            expect(one_run, "parts", "chains of one run", "several")
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name not in _SHARED
        }
        return cls(
            grid=first.grid,
            dropped=sum(part.dropped for part in parts),
            min_cell=first.min_cell,
            steps=sum(part.steps for part in parts),
            kind=first.kind,
            cost_steps=sum(part.cost_steps for part in parts),
            pretraining_steps=first.pretraining_steps,
            **arrays,
        )

    def chain(self, seed: int) -> Experience:
        """Return the transitions of one chain; the counts stay those of all."""
        return self.select(self.seed == seed)

    def select(self, rows: Bools) -> Experience:
        """Return the transitions of (n,) rows; the counts stay those of all."""
        columns = {
            f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in _SHARED
        }
        return replace(self, **columns)


def _check_shapes(path: str | os.PathLike[str], arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Raise FormatError naming the first array that is not of one entry for each transition."""
    transitions, margins = arrays["state"].size, arrays["grid"].size
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_SHARED, ())
    shapes |= {"grid": (margins,), "successor": (transitions, BINS * BINS * margins)}
    for name, array in arrays.items():
        shape = shapes.get(name, (transitions,))
        problem = f"{name}: expected shape {shape}, got {array.shape}"
        check_format(array.shape == shape, path, problem)


def _added(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return values for the fields that an earlier version lacks, from those that it has."""
    transitions, steps = arrays["state"].shape, int(arrays["steps"])
    # Chains of so many epochs, each with a pass for statistics and one before the first.
    epochs = int(arrays["epoch"].max(initial=0))
    passes = (epochs + 1) / epochs if epochs else math.nan
    return {
        "mean_action": np.full(transitions, np.nan),
        "mean_margin": np.full(transitions, np.nan),
        "branch": np.zeros(transitions, np.int64),
        "cost_steps": steps + FORWARD_COST * steps * passes,
        "pretraining_steps": math.nan,
    }


def _class_means(cells: npt.NDArray[np.floating[Any]], classes: Ints, epochs: Ints) -> Float64s:
    """Return the (n,) mean over the classes of all cells of the same epoch."""
    _, epoch = np.unique(epochs, return_inverse=True)
    total = np.bincount(epoch, weights=cells * classes)
    mean: Float64s = (total / np.bincount(epoch, weights=classes))[epoch]
    return mean
