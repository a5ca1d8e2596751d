"""What was observed while margins moved: raw distances, so that rewards can be changed later."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.agent import MarginGrid, Transitions, standardised_reward
from fairloss.io.atomic import write_atomic

VERSION = 1

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(eq=False)
class Experience:
    """n transitions; one is a cell of classes that shared a state and took one action.

    Attributes:
        grid: (M,) margins.
        state, action: (n,) the state before the epoch, and the action (index into
            `fairloss.agent.ACTIONS`).
        successor: (n, S) fraction of the cell's classes in each state after the epoch.
        inter_before, inter_after: (n,) mean angle to the nearest other class centre, radians.
        intra_before, intra_after: (n,) mean angle between sample and centre, radians, over the
            classes with two images or more; NaN in a cell that has none.
        classes: (n,) classes in the cell.
        epoch, seed: (n,) of the chain, epochs counted from 1.
        dropped: cells left out because they were smaller than `min_cell`.
        min_cell: that bound.
        steps: optimiser steps that the collection took, all chains together.
        kind: of the margins, "arc" or "cos".
    """

    grid: FloatArray
    state: IntArray
    action: IntArray
    successor: FloatArray
    inter_before: FloatArray
    inter_after: FloatArray
    intra_before: FloatArray
    intra_after: FloatArray
    classes: IntArray
    epoch: IntArray
    seed: IntArray
    dropped: int
    min_cell: int
    steps: int
    kind: str

    def __len__(self) -> int:
        return len(self.state)

    def transitions(self, weights: tuple[float, float] = (1.0, 1.0)) -> Transitions:
        """The agent's view, with standardised rewards (see `fairloss.agent.standardised_reward`).

        Args:
            weights: of the inter- and the intra-class term.
        """
        # Epochs of different chains are different epochs.
        label = self.seed * (int(self.epoch.max(initial=0)) + 1) + self.epoch
        reward = standardised_reward(
            self.inter_before, self.inter_after, self.intra_before, self.intra_after, label, weights
        )
        return Transitions(self.state, self.action, reward, self.successor)

    def margin_grid(self) -> MarginGrid:
        """The margins as the agent's grid."""
        return MarginGrid(tuple(float(value) for value in self.grid))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz with a version, whole or not at all."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez_compressed(file, version=VERSION, **arrays)

        write_atomic(Path(path), write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Experience:
        """Read what `save` wrote; ValueError naming the file if it is something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not an experience file ({error})") from error
        version = arrays.pop("version", None)
        names = {f.name for f in fields(cls)}
        if version is None or int(version) != VERSION or set(arrays) != names:
            raise ValueError(f"{path}: not an experience file of version {VERSION}")
        for name in ("dropped", "min_cell", "steps"):
            arrays[name] = int(arrays[name])
        arrays["kind"] = str(arrays["kind"])
        return cls(**arrays)

    @classmethod
    def merge(cls, parts: Sequence[Experience]) -> Experience:
        """All transitions of several chains; ValueError if their grids or bounds differ."""
        first = parts[0]
        for part in parts[1:]:
            same = (part.min_cell, part.kind) == (first.min_cell, first.kind)
            if not same or not np.array_equal(part.grid, first.grid):
                raise ValueError("parts: chains differ in their margin grid, kind or min_cell")
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name not in ("grid", "dropped", "min_cell", "steps", "kind")
        }
        return cls(
            grid=first.grid,
            dropped=sum(part.dropped for part in parts),
            min_cell=first.min_cell,
            steps=sum(part.steps for part in parts),
            kind=first.kind,
            **arrays,
        )
