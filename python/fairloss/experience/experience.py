"""Transitions observed while margins move, with the distances that rewards are computed from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.agent import MarginGrid, Transitions, standardized_reward
from fairloss.checks import expect
from fairloss.io.atomic import FormatError, write_atomic
from fairloss.typing import Float64s, Ints

VERSION = 1


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
        dropped: cells left out because they were smaller than `min_cell`.
        min_cell: that bound.
        steps: optimizer steps that the collection took, all chains together.
        kind: of the margins, "arc" or "cos".
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
    dropped: int
    min_cell: int
    steps: int
    kind: str

    def __len__(self) -> int:
        return len(self.state)

    def transitions(self, weights: tuple[float, float] = (1.0, 1.0)) -> Transitions:
        """Return transitions with standardized rewards (see `fairloss.agent.standardized_reward`).

        Args:
            weights: of the inter- and the intra-class term.
        """
        # Epochs of different chains get different labels.
        label = self.seed * (int(self.epoch.max(initial=0)) + 1) + self.epoch
        reward = standardized_reward(
            self.inter_before, self.inter_after, self.intra_before, self.intra_after, label, weights
        )
        return Transitions(self.state, self.action, reward, self.successor)

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
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise
        except Exception as error:  # zipfile, zlib and numpy raise errors of many types
            raise FormatError(path, f"not an experience file ({error})") from error
        version = arrays.pop("version", None)
        names = {f.name for f in fields(cls)}
        if version is None or int(version) != VERSION or set(arrays) != names:
            raise FormatError(path, f"not an experience file of version {VERSION}")
        for name in ("dropped", "min_cell", "steps"):
            arrays[name] = int(arrays[name])
        arrays["kind"] = str(arrays["kind"])
        return cls(**arrays)

    @classmethod
    def merge(cls, parts: Sequence[Experience]) -> Experience:
        """Return all transitions of several chains; ValueError if their grids or bounds differ."""
        first = parts[0]
        for part in parts[1:]:
            same = (part.min_cell, part.kind) == (first.min_cell, first.kind)
            same = same and np.array_equal(part.grid, first.grid)
            expect(same, "parts", "one margin grid, kind and min_cell", "several")
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
