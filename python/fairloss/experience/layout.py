"""The layouts of a collection: which cells move their margins in an epoch."""

from dataclasses import dataclass

import numpy as np

from fairloss.agent.grid import KEEP
from fairloss.typing import Bools, Ints

LAYOUTS = ("chain", "single", "branches")


@dataclass
class Cell:
    """Classes that share a state, and the action that they take together."""

    state: int
    classes: Ints
    action: int = KEEP


def cells_with_images(states: Ints, counts: Ints) -> list[Cell]:
    """Return the cells, all of which keep their margin.

    Args:
        states: (C,) of the classes.
        counts: (C,) their images.
    """
    present = np.unique(states[counts > 0]).tolist()
    return [Cell(state, np.flatnonzero((states == state) & (counts > 0))) for state in present]


def move_all(cells: list[Cell], legal: Bools, visits: Ints, random: np.random.Generator) -> None:
    """Let every cell take an action whose (state, action) pair has the fewest visits.

    Args:
        cells: to change.
        legal: (S, 3) legal pairs.
        visits: (S, 3) of the pairs.
        random: draws among pairs of equal visits.
    """
    for cell in cells:
        tried = np.where(legal[cell.state], visits[cell.state], np.iinfo(np.int64).max)
        cell.action = int(random.choice(np.flatnonzero(tried == tried.min())))


def move_one(cells: list[Cell], legal: Bools, visits: Ints, random: np.random.Generator) -> None:
    """Let one cell raise or lower its margin, by the pair with the fewest visits; others keep."""
    moves = legal.copy()
    moves[:, KEEP] = False
    pairs = [(cell, action) for cell in cells for action in np.flatnonzero(moves[cell.state])]
    if not pairs:  # a grid of one margin
        return
    tried = np.array([visits[cell.state, action] for cell, action in pairs])
    cell, action = pairs[int(random.choice(np.flatnonzero(tried == tried.min())))]
    cell.action = int(action)
